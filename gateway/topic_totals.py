"""Records by topic and lag by partition as metrics, computed when they are scraped."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from prometheus_client import Metric

    from gateway.core.records import TopicPartition
    from gateway.core.source import Source

PREFIX = "gateway_topic"


class TopicTotals:
    """A collector for a Prometheus registry; its series are bounded by the configured topics.

    `read` and `skipped` count records by topic. `absent` returns the topics that are missing or may
    not be read.
    """

    def __init__(self, topics: Collection[str], absent: Callable[[], Collection[str]]) -> None:
        self._topics = topics
        self._absent = absent
        self.read: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; called by the registry."""
        read = CounterMetricFamily(
            f"{PREFIX}_records_read", "Records that the live consumer has read", labels=["topic"]
        )
        skipped = CounterMetricFamily(
            f"{PREFIX}_records_skipped", "Records that are not events", labels=["topic"]
        )
        missing = GaugeMetricFamily(
            f"{PREFIX}_missing", "1 while the topic is missing or may not be read", labels=["topic"]
        )
        absent = self._absent()
        for topic in self._topics:
            read.add_metric([topic], self.read[topic])
            skipped.add_metric([topic], self.skipped[topic])
            missing.add_metric([topic], int(topic in absent))
        yield from (read, skipped, missing)


class PartitionLags:
    """A collector for a Prometheus registry, computed when it is scraped.

    `lags` are of the partitions that the worker reads, so the number of series is bounded by the
    partitions of the topics. The label `kind` identifies the topic if a worker has one of each;
    with a file of sources a label `topic` does.
    """

    def __init__(
        self,
        lags: Callable[[], Mapping[TopicPartition, int]],
        sources: Sequence[Source],
        *,
        by_topic: bool,
    ) -> None:
        self._lags = lags
        self._kinds = {source.topic: source.kind for source in sources}
        self._by_topic = by_topic

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauge; called by the registry."""
        family = GaugeMetricFamily(
            "gateway_kafka_partition_lag_records",
            "Records not read yet, of each log with streams",
            labels=["kind", "partition", *(["topic"] if self._by_topic else [])],
        )
        for log, lag in self._lags().items():
            labels = [str(self._kinds[log.topic]), str(log.partition)]
            family.add_metric([*labels, log.topic] if self._by_topic else labels, lag)
        yield family
