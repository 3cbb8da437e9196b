"""Lag by partition as a metric: it shows which partition makes a worker's total grow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily

from gateway.core.records import LogKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gateway.core.records import TopicPartition


class PartitionLags:
    """A collector for a Prometheus registry, computed when it is scraped.

    `lags` are of the partitions that the worker reads, so the number of series is bounded by the
    partitions of the two topics. The label `kind` identifies the topic: a worker has one of each.
    """

    def __init__(
        self, lags: Callable[[], Mapping[TopicPartition, int]], broadcast_topic: str
    ) -> None:
        self._lags = lags
        self._broadcast_topic = broadcast_topic

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauge; called by the registry."""
        family = GaugeMetricFamily(
            "gateway_kafka_partition_lag_records",
            "Records not read yet, of each log with streams",
            labels=["kind", "partition"],
        )
        for log, lag in self._lags().items():
            kind = LogKind.BROADCAST if log.topic == self._broadcast_topic else LogKind.USER
            family.add_metric([str(kind), str(log.partition)], lag)
        yield family
