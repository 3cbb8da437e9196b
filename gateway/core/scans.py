"""The scans of a worker, from their begin to the hand-over of their streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.budget import HAND_OVER, PIECE, RECORDS
from gateway.core.scan import Scan

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.budget import Budget
    from gateway.core.ends import StreamEnds
    from gateway.core.feed import PartitionFeed
    from gateway.core.limits import Limits
    from gateway.core.memory import Memory
    from gateway.core.ready import ReadyStreams
    from gateway.core.records import Moment


class Scans:
    """Begins scans, and hands over the streams of ended ones; calls `wake` for the next scan."""

    def __init__(
        self,
        limits: Limits,
        memory: Memory,
        ready: ReadyStreams,
        ends: StreamEnds,
        wake: Callable[[PartitionFeed], None],
    ) -> None:
        self._limits = limits
        self._memory = memory
        self._ready = ready
        self._ends = ends
        self._wake = wake
        self._contain = ends.contain
        self._scans = ends.scans
        self._ending: dict[PartitionFeed, Scan] = {}
        """Scans that have ended, with streams to hand over."""

    def __bool__(self) -> bool:
        """Whether ended scans have streams to hand over."""
        return bool(self._ending)

    def begin(self, feed: PartitionFeed) -> Scan:
        """Return a scan for all streams that wait for one of this partition.

        Raises `ValueError` if the partition has a running scan or no tail.
        """
        if feed in self._scans:
            raise ValueError("a partition has one scan at a time")
        scan = Scan(feed, feed.waiting, self._limits, self._ends.interpreter, self._contain)
        self._scans[feed] = scan
        feed.waiting = {}
        return scan

    def end(self, feed: PartitionFeed) -> None:
        """End a scan, complete or not; `step` hands its streams over and then removes it."""
        self._ending[feed] = self._scans[feed]

    def step(self, budget: Budget, moment: Moment) -> None:
        """Close streams that a scan cannot serve, and hand over those of ended scans."""
        for scan in list(self._scans.values()):
            while scan.failed:
                self._ends.end(scan.failed.pop(), None, moment)
        while self._ending and budget.left > 0:
            feed, scan = next(iter(self._ending.items()))
            streams = scan.finish(max(1, budget.left // HAND_OVER))
            budget.left -= HAND_OVER * len(streams)
            self._ready.queue(streams)
            while scan.failed:
                self._ends.end(scan.failed.pop(), None, moment)
            while not scan.seekers and not scan.finished and budget.left > 0:
                budget.left -= scan.warm_tail(PIECE) // RECORDS + 1
                with self._contain():
                    self._memory.enforce()
            if scan.finished:
                del self._ending[feed], self._scans[feed]
                if feed.waiting:
                    self._wake(feed)
