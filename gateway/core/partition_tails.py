"""The tails of a worker: created when a partition is read, removed when its reading ends."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from gateway.core.budget import PARK, PIECE, RECORDS
from gateway.core.tail import Tail

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from gateway.core.budget import Budget
    from gateway.core.delivery import Outbox
    from gateway.core.feed import PartitionFeed
    from gateway.core.ready import ReadyStreams
    from gateway.core.records import OffsetPosition
    from gateway.core.stream import Stream


class PartitionTails:
    """Creates and removes tails, and moves the streams of partitions without one."""

    def __init__(self, streams: Collection[Stream], outbox: Outbox, ready: ReadyStreams) -> None:
        self._streams = streams
        self._outbox = outbox
        self._ready = ready
        self._contain = outbox.contain
        self._leaving: dict[PartitionFeed, Iterator[Stream]] = {}
        """Partitions without a tail, each with the streams whose state has to be reset."""
        self._discarded: deque[Tail] = deque()
        """Tails to be freed."""

    def __bool__(self) -> bool:
        """Whether there are streams to move or tails to free."""
        return bool(self._leaving or self._discarded)

    def forget(self, feed: PartitionFeed) -> None:
        """Leave the streams of a deleted partition as they are."""
        self._leaving.pop(feed, None)

    def activate(self, feed: PartitionFeed, end: OffsetPosition) -> None:
        """Create the partition's tail at `end`, and queue the streams that waited for it."""
        assert feed.tail is None
        self._move_behind(feed)
        feed.tail = Tail(end, keyed=feed.keyed)
        feed.former_head = None
        for stream in feed.parked:
            state = stream.catching_up.get(feed)
            if state is not None and state.until is None:
                state.until = end.offset
        self._ready.unpark(feed)

    def deactivate(self, feed: PartitionFeed) -> None:
        """Remove the partition's tail; `step` moves its live streams to the former head."""
        assert feed.tail is not None
        feed.former_head = feed.tail.head
        self._discarded.append(feed.tail)
        feed.tail = None
        feed.index.clear()
        self._leaving[feed] = iter(list(self._streams))

    def step(self, budget: Budget) -> None:
        """Move streams of partitions without a tail, within the budget."""
        while self._leaving and budget.left > 0:
            self._move_behind(next(iter(self._leaving)), budget)

    def free(self, budget: Budget) -> None:
        """Free discarded tails: a hundred thousand records at once would take too long."""
        while self._discarded and budget.left > 0:
            budget.left -= PIECE // RECORDS
            if not self._discarded[0].discard(PIECE):
                self._discarded.popleft()

    def _move_behind(self, feed: PartitionFeed, budget: Budget | None = None) -> None:
        """Make streams of a partition without a tail behind; within a budget, or all of them."""
        for stream in self._leaving.get(feed, ()):
            if not stream.closed and feed in stream.feeds:
                with self._contain() as contained:
                    if feed not in stream.catching_up:
                        feed.fall_behind(stream)
                        feed.park(stream)
                    state = stream.catching_up[feed]
                    state.checked = state.ahead = False
                if contained.failed:
                    self._outbox.failed.append(stream)
            if budget is not None:
                budget.left -= PARK
                if budget.left <= 0:
                    return
        self._leaving.pop(feed, None)
