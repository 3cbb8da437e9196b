"""Fetched records on their way into the tails and to the live streams."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from gateway.core.budget import EVENT
from gateway.core.delivery import addressees, pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.core.budget import Budget
    from gateway.core.delivery import Outbox
    from gateway.core.ends import StreamEnds
    from gateway.core.feed import PartitionFeed
    from gateway.core.key_check import KeyCheck
    from gateway.core.memory import Memory
    from gateway.core.ready import ReadyStreams
    from gateway.core.records import Moment, Record, TopicPartition
    from gateway.core.tail import Tail

    Delivered = Callable[[Mapping[TopicPartition, Sequence[Record]], Moment], None]


class Arrivals:
    """Appends batches to their tails, piece by piece, and writes each piece to live streams."""

    def __init__(
        self,
        outbox: Outbox,
        memory: Memory,
        ready: ReadyStreams,
        ends: StreamEnds,
        keys: KeyCheck,
    ) -> None:
        self._outbox = outbox
        self._memory = memory
        self._ready = ready
        self._ends = ends
        self._keys = keys
        self._contain = outbox.contain
        self._arrived: deque[_Arrival] = deque()
        """Fetched records that are not yet in their tails."""
        self.delivered: Delivered | None = None
        """Optional observer, called with each dispatched batch after its delivery."""

    def __bool__(self) -> bool:
        """Whether records are not yet written to all live streams."""
        return bool(self._arrived or self._outbox)

    def add(
        self,
        batches: Mapping[TopicPartition, Sequence[Record]],
        feeds: Mapping[TopicPartition, PartitionFeed],
    ) -> None:
        """Queue fetched records, in offset order for each partition."""
        for piece in pieces(batches, feeds):
            addressed = [(feeds[log], feeds[log].tail, piece[log]) for log in piece]
            self._arrived.append(_Arrival(addressed))
        self._arrived[-1].whole = batches

    def step(self, budget: Budget, moment: Moment) -> None:
        """Write pending bytes, then deliver the next pieces, within the budget."""
        self._flush(budget, moment)
        while self._arrived and not self._outbox and budget.left > 0:
            arrival = self._arrived.popleft()
            self._append_piece(arrival.piece, budget, moment)
            self._flush(budget, moment)
            if arrival.whole is not None and self.delivered is not None:
                with self._contain():
                    self.delivered(arrival.whole, moment)

    def _append_piece(
        self,
        piece: list[tuple[PartitionFeed, Tail | None, Sequence[Record]]],
        budget: Budget,
        moment: Moment,
    ) -> None:
        """Append the records of a piece to those tails that still exist."""
        size: int | None = 0
        done = 0
        while done < len(piece):
            with self._contain() as contained:
                for feed, tail, records in piece[done:]:
                    done += 1
                    if tail is not None and feed.tail is tail:
                        held = tail.size
                        self._append(feed, tail, records, budget)
                        size = None if size is None else size + tail.size - held
            if contained.failed:
                size = None  # unknown
                self._abandon(piece[done - 1][0], moment)
        with self._contain():
            self._memory.enforce(size)

    def _append(
        self, feed: PartitionFeed, tail: Tail, records: Sequence[Record], budget: Budget
    ) -> None:
        """Append records to a tail, and their events to the outbox."""
        if feed.shared:
            # The ids of a stream that is behind elsewhere differ, so it catches up separately.
            addressed = addressees(feed, records)
            for stream in [stream for stream in addressed if stream.catching_up]:
                feed.fall_behind(stream)
                self._ready.queue((stream,))
        records, fresh = tail.append(records)
        if feed.keyed:
            self._keys.check(feed, records, fresh)
        budget.left -= len(records) + EVENT * self._outbox.add(feed, records)
        if feed.parked:
            self._ready.unpark(feed)

    def _flush(self, budget: Budget, moment: Moment) -> None:
        self._outbox.flush(budget, moment)
        self._ends.failed(moment)

    def _abandon(self, feed: PartitionFeed, moment: Moment) -> None:
        """End the live streams of a partition after a batch has failed.

        At the tail's head they would lose the batch; their clients resume from their cursors.
        """
        for stream in feed.live():
            self._ends.end(stream, None, moment)
        self._ready.unpark(feed)


class _Arrival:
    """A piece of a batch with the tails it belongs to, and the batch with its last piece."""

    __slots__ = ("piece", "whole")

    def __init__(self, piece: list[tuple[PartitionFeed, Tail | None, Sequence[Record]]]) -> None:
        self.piece = piece
        self.whole: Mapping[TopicPartition, Sequence[Record]] | None = None
