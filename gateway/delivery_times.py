"""The histogram of delivery times, which is updated once for each batch."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from prometheus_client.core import HistogramMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DELIVERY_BUCKETS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0),
)
"""Seconds, from immediate delivery to a delay by a Kafka outage."""

_BUCKETS_MS = [round(bound * 1000) for bound in DELIVERY_BUCKETS]


class DeliveryTimes:
    """Histogram: record timestamp to socket write, live events; one update a batch."""

    def __init__(self) -> None:
        self._counts = [0] * (len(DELIVERY_BUCKETS) + 1)
        self._sum = 0.0

    def add(self, deliveries: Sequence[tuple[int, int]], wall: int) -> None:
        """Count deliveries at the time `wall` (ms), each a record timestamp and a number."""
        counts, total = self._counts, 0
        for timestamp, number in deliveries:
            delay = wall - timestamp
            if delay > 0:
                counts[bisect_left(_BUCKETS_MS, delay)] += number
                total += delay * number
            else:  # clocks differ: a record from the future was delivered at once
                counts[0] += number
        self._sum += total / 1000

    @property
    def counts(self) -> tuple[int, ...]:
        """Events up to each bound and above the previous one; the last: above all bounds."""
        return tuple(self._counts)

    @property
    def sum(self) -> float:
        """Sum of all delays, in seconds."""
        return self._sum

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the histogram; called by the registry."""
        buckets, total = [], 0
        for bound, number in zip([*map(str, DELIVERY_BUCKETS), "+Inf"], self._counts, strict=True):
            total += number
            buckets.append((bound, total))
        yield HistogramMetricFamily(
            "gateway_delivery_seconds",
            "Time from a record's timestamp to its write to a socket, of live events",
            buckets=buckets,
            sum_value=self._sum,
        )
