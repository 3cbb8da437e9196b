"""The recent history of a fleet: one sample every few seconds while this worker runs.

A sample combines all statuses at one time. Gauges and rates are sums over the running workers.
Statuses count from each worker's start, so a sample holds the increase of each count since the
previous sample, and the percentiles of delivery times in that interval, from the histogram buckets
of all workers. The first status of a worker adds no increase.

This module reads no clock, and its memory is bounded: 300 samples of about 300 bytes, and a few
numbers per worker that is shown.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from gateway.fleet.members import STATUS_SECONDS, Member
from gateway.fleet.status import Status, WorkerState, quantile

if TYPE_CHECKING:
    from collections.abc import Iterable


HISTORY_SECONDS = 900.0
MAX_SAMPLES = round(HISTORY_SECONDS / STATUS_SECONDS)


class Sample(msgspec.Struct, frozen=True):
    """The state of a fleet at one time; `at` is Unix ms by this worker's clock."""

    at: int
    workers: int
    streams: int
    events_per_second: float
    records_per_second: float
    lag: int
    replays_running: int
    replays_waiting: int
    tail_bytes: int
    resident_bytes: int
    cpu_share: float
    """In cores, summed over all workers: 2.0 means two cores."""
    gaps: int
    closes: int
    rejects: int
    unreadable: int
    p50: float | None
    """Seconds; None if no event was delivered since the previous sample."""
    p90: float | None
    p99: float | None


class _Counts(msgspec.Struct, frozen=True, gc=False):
    """The counts of a worker at the previous sample."""

    gaps: int
    closes: int
    rejects: int
    unreadable: int
    mismatches: int
    expired: int
    bounds: tuple[float, ...]
    delivered: tuple[int, ...]


class History:
    """The samples, and the last increase of each worker's fault counts."""

    def __init__(self) -> None:
        self.samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)
        self._counts: dict[str, _Counts] = {}
        self._grown: dict[str, dict[str, int]] = {}

    def add_sample(self, members: Iterable[Member], wall: int) -> Sample:
        """Add a sample for the time `wall` (Unix ms) and return it."""
        members = list(members)
        there = [m.status for m in members if m.status.state is not WorkerState.GONE]
        grown = dict.fromkeys(("gaps", "closes", "rejects", "unreadable"), 0)
        bounds: tuple[float, ...] = ()
        delivered: list[int] = []
        for status, *_ in members:
            now = _counts(status)
            before = self._counts.get(status.worker, now)
            self._counts[status.worker] = now
            for name in grown:
                grown[name] += max(0, getattr(now, name) - getattr(before, name))
            for name in ("unreadable", "mismatches", "expired"):
                if getattr(now, name) > getattr(before, name):
                    self._grown.setdefault(status.worker, {})[name] = wall
            # Another version may use other buckets, and only equal buckets can be summed.
            bounds = bounds or now.bounds
            if now.bounds == before.bounds == bounds:
                delivered = delivered or [0] * len(now.delivered)
                pairs = zip(now.delivered, before.delivered, strict=True)
                delivered = [
                    total + max(0, new - old)
                    for total, (new, old) in zip(delivered, pairs, strict=True)
                ]
        self._forget({member.status.worker for member in members})
        p50, p90, p99 = (
            quantile(bounds, delivered, share) if delivered else None for share in (0.5, 0.9, 0.99)
        )
        sample = Sample(
            wall,
            len(there),
            sum(s.streams for s in there),
            round(sum(s.events_per_second for s in there), 1),
            round(sum(s.records_per_second for s in there), 1),
            sum(s.lag for s in there),
            sum(s.replays_running for s in there),
            sum(s.replays_waiting for s in there),
            sum(s.tail_bytes for s in there),
            sum(s.resident_bytes for s in there),
            round(sum(s.cpu_share for s in there), 4),
            **grown,
            p50=p50,
            p90=p90,
            p99=p99,
        )
        self.samples.append(sample)
        return sample

    def has_grown(self, worker: str, count: str) -> bool:
        """Return whether a count of a worker has grown within the samples that are kept.

        `count` is `unreadable`, `mismatches` or `expired` (gaps).
        """
        seen = self._grown.get(worker, {}).get(count)
        return seen is not None and seen >= self.samples[0].at

    def _forget(self, shown: set[str]) -> None:
        for worker in self._counts.keys() - shown:
            del self._counts[worker]
            self._grown.pop(worker, None)


def _counts(status: Status) -> _Counts:
    return _Counts(
        sum(status.gaps.values()),
        sum(status.closes.values()),
        sum(status.rejects.values()),
        sum(status.unreadable.values()),
        status.partitioner_mismatches,
        status.gaps.get("expired", 0),
        status.delivery.bounds,
        status.delivery.counts,
    )
