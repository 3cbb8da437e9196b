"""Lag by partition as a metric: where a worker's sum grows, which log it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily

from gateway.core.log import LogKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gateway.core.log import Log


class PartitionLags:
    """A collector of Prometheus' registry: worked out when it is read, and only then.

    `lags` are those of the logs that the worker reads, so there are no more lines than the two
    topics have partitions, and those of partitions that nobody follows any more are gone. Which
    topic it is says its kind: a worker has one of each.
    """

    def __init__(self, lags: Callable[[], Mapping[Log, int]], broadcast_topic: str) -> None:
        self._lags = lags
        self._broadcast_topic = broadcast_topic

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauge; what a registry calls."""
        family = GaugeMetricFamily(
            "gateway_kafka_partition_lag_records",
            "Records not read yet, of each log with streams",
            labels=["kind", "partition"],
        )
        for log, lag in self._lags().items():
            kind = LogKind.BROADCAST if log.topic == self._broadcast_topic else LogKind.USER
            family.add_metric([str(kind), str(log.partition)], lag)
        yield family
