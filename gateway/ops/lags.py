"""Lag by partition as a metric: it shows which partition makes a worker's total grow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gateway.core.records import TopicPartition
    from gateway.core.source import Source


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
