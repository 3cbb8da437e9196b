from __future__ import annotations

from prometheus_client import CollectorRegistry

from gateway.core.records import TopicPartition
from gateway.ops.lags import PartitionLags


def test_only_logs_that_are_read_have_a_lag() -> None:
    lags = {TopicPartition("events", 3): 40, TopicPartition("news", 0): 0}
    registry = CollectorRegistry(auto_describe=False)
    registry.register(PartitionLags(lambda: lags, "news"))

    def value(kind: str, partition: str) -> float | None:
        labels = {"kind": kind, "partition": partition}
        return registry.get_sample_value("gateway_kafka_partition_lag_records", labels)

    assert value("user", "3") == 40
    assert value("broadcast", "0") == 0
    del lags[TopicPartition("events", 3)]
    assert value("user", "3") is None
