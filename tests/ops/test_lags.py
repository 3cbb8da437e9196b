from __future__ import annotations

from prometheus_client import CollectorRegistry

from gateway.core.records import LogKind, TopicPartition, UnreadableReason, make_record
from gateway.core.source import Source, simple_sources
from gateway.topic_totals import PartitionLags, TopicTotals
from tests.http.served import Served


def test_only_logs_that_are_read_have_a_lag() -> None:
    lags = {TopicPartition("events", 3): 40, TopicPartition("news", 0): 0}
    registry = CollectorRegistry(auto_describe=False)
    sources = simple_sources("events", "news")
    registry.register(PartitionLags(lambda: lags, sources, by_topic=False))

    def value(kind: str, partition: str) -> float | None:
        labels = {"kind": kind, "partition": partition}
        return registry.get_sample_value("gateway_kafka_partition_lag_records", labels)

    assert value("user", "3") == 40
    assert value("broadcast", "0") == 0
    del lags[TopicPartition("events", 3)]
    assert value("user", "3") is None


def test_with_a_file_of_sources_the_topic_is_a_label() -> None:
    registry = CollectorRegistry(auto_describe=False)
    lags = {TopicPartition("a", 0): 1, TopicPartition("b", 0): 2}
    sources = [Source("a", LogKind.USER), Source("b", LogKind.USER)]
    registry.register(PartitionLags(lambda: lags, sources, by_topic=True))
    found = [
        registry.get_sample_value(
            "gateway_kafka_partition_lag_records",
            {"kind": "user", "partition": "0", "topic": topic},
        )
        for topic in ("a", "b")
    ]
    assert found == [1, 2]


def test_records_are_counted_by_topic() -> None:
    served = Served()
    absent = {"news"}
    served.metrics.add_topics(TopicTotals(["events", "news"], lambda: absent))
    log = TopicPartition("events", 3)
    served.metrics.read({log: [make_record(0, 0, b"a", b"{}")] * 3})
    served.metrics.unreadable(log, 0, UnreadableReason.NOT_JSON)

    def values(topic: str) -> list[float | None]:
        return [
            served.metrics.registry.get_sample_value(f"gateway_topic_{name}", {"topic": topic})
            for name in ("records_read_total", "records_skipped_total", "missing")
        ]

    assert values("events") == [3, 1, 0]
    assert values("news") == [0, 0, 1]
