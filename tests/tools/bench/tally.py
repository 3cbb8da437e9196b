"""Events that clients received, compared with the written ones."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate

import msgspec

NS_PER_BUCKET = 100_000
"""Latencies are counted in buckets of 0.1 ms: far below the variation between runs, and small
enough to pass between processes for any number of events."""


class Void(Exception):
    """The measurement is void: events were lost, repeated or unexpected."""


class Tally(msgspec.Struct):
    """Received events: number, latencies and faults.

    `size` is in bytes with all framing, `latencies` counts events by bucket, `faults` by kind.
    """

    events: int = 0
    size: int = 0
    latencies: dict[int, int] = msgspec.field(default_factory=dict)
    faults: dict[str, int] = msgspec.field(default_factory=dict)
    heartbeats: int = 0

    def event(self, latency_ns: int) -> None:
        """Count an event with this latency."""
        self.events += 1
        bucket = latency_ns // NS_PER_BUCKET
        self.latencies[bucket] = self.latencies.get(bucket, 0) + 1

    def fault(self, kind: str, count: int = 1) -> None:
        """Count a fault."""
        self.faults[kind] = self.faults.get(kind, 0) + count

    def add(self, other: Tally) -> None:
        """Add another tally."""
        self.events += other.events
        self.size += other.size
        self.heartbeats += other.heartbeats
        for bucket, count in other.latencies.items():
            self.latencies[bucket] = self.latencies.get(bucket, 0) + count
        for kind, count in other.faults.items():
            self.fault(kind, count)

    def latency_ms(self, part: float) -> float:
        """Return the latency quantile of this part of the events, at most 0.1 ms too high."""
        assert self.events, "no events, no latency"
        buckets = sorted(self.latencies)
        seen = list(accumulate(self.latencies[bucket] for bucket in buckets))
        last = buckets[bisect_left(seen, part * self.events)]
        return (last + 1) * NS_PER_BUCKET / 1e6

    def verify(self, written: int) -> None:
        """Raise `Void` unless each written event arrived once and in order."""
        if self.faults or self.events != written:
            faults = "".join(f", {count} {kind}" for kind, count in sorted(self.faults.items()))
            raise Void(f"{self.events} events of {written} arrived{faults}")
