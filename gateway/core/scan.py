"""Scan: one pass over a partition on behalf of many streams.

The replay plan (`gateway.core.replay_plan`) determines where each stream begins. A scan reads from
the earliest of these offsets to the tail's base and skips ranges that, by the partition's index,
contain no matching record. It does no I/O: the edge passes in the extent of the partition and the
records read, and the scan returns where to read next and when to stop.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from gateway.core.gap import GapReason
from gateway.core.observer import Summary
from gateway.core.records import OffsetPosition
from gateway.core.replay_plan import Plan
from gateway.core.warming import Warming

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.core.catch_up_state import CatchUpState
    from gateway.core.containment import Contain
    from gateway.core.feed import PartitionFeed
    from gateway.core.interpreter import Interpreter
    from gateway.core.limits import Extent, Limits
    from gateway.core.records import Record
    from gateway.core.replay_plan import Wanted
    from gateway.core.seeker import Search, Seeker
    from gateway.core.stream import Stream

BATCH = 500
"""Records read before the reader yields to the event loop: some 4 ms of decoding."""

PIECE = 65_536
"""Offsets of the index searched in one step: some 0.2 ms for one key, 8 ms for many."""

CHECKED = 200
"""Streams checked in one call of `harvest`; the next call checks the others."""

NEAR = 250
"""Offsets. Reading this many takes as long as a seek: about 2 ms."""


class Scan:
    """One pass over a partition for the streams that waited for it.

    Order of calls: `begin`; `warm` if the tail is to be warmed; until `located`, `locate` with the
    offsets of `times`; while `reading`, `skip` and, if it returns True, `feed`; then, until it is
    `finished`, `finish` and `warm_tail`. `locate`, `harvest` and `finish` return the streams to
    advance, and each call is bounded. An unexpected exception costs the streams in `failed`, which
    the hub closes. Raises `ValueError` for a feed without a tail.
    """

    def __init__(
        self,
        feed: PartitionFeed,
        waiting: Mapping[Stream, CatchUpState],
        limits: Limits,
        interpreter: Interpreter,
        contain: Contain,
    ) -> None:
        self._contain = contain
        self._contained = contain()
        """Entered for each event found; replaced only after a failure."""
        self._plan = Plan(feed, waiting, limits, interpreter, contain)
        self.seekers = self._plan.seekers
        self.failed = self._plan.failed
        """Streams to be closed after an unexpected exception."""
        self.located = False
        """Whether `locate` has covered all streams."""
        self._checked: deque[Stream] = deque()
        """Streams in the order in which `harvest` checks them."""
        self.position = -1
        """The next offset to read; set by `locate`."""
        self.end = self._plan.tail.base.offset
        """The offset at which the scan ends: the tail's base."""
        self._tail = self._plan.tail
        self._feed = feed
        self._limits = limits
        self._interpreter = interpreter
        self.records = 0
        """Number of records read so far."""
        self._streams = tuple([stream.number for stream in waiting])
        self._events = 0
        self._last: Record | None = None
        self.run = BATCH
        """Number of offsets to read from `position`; set by `skip`."""
        self._wanted: deque[int] = deque()
        """Offsets up to `_searched` that the index has for the searched keys."""
        self._searched = -1
        self._warming = Warming()

    @property
    def summary(self) -> Summary:
        """Summary of the scan; complete after `finish`."""
        return Summary(self._feed.log, self._streams, self.records, self._events)

    @property
    def reading(self) -> bool:
        """Whether to read on: streams or warming are left, and the end is not reached."""
        wanted = bool(self.seekers) or self._warming.wanted
        return wanted and self.position < self.end and self._valid

    @property
    def _valid(self) -> bool:
        """Whether the feed still has the tail with which the scan began."""
        return self._feed.tail is self._tail

    @property
    def times(self) -> set[int]:
        """Timestamps (ms) whose offsets `locate` needs; known after `begin`."""
        return self._plan.times

    @property
    def extent(self) -> Extent:
        """The argument of `begin`."""
        return self._plan.extent

    def begin(self, extent: Extent) -> None:
        """Reset positions beyond the end of the partition; no effect if the tail is gone."""
        if self._valid:
            self._plan.begin(extent)

    def warm(self, start: int, room: int) -> None:
        """Collect every record from `start` on for the tail, the newest `room` bytes."""
        self._warming.begin(min(max(start, self.extent.start), self.end), room)

    def locate(self, offsets: Mapping[int, int]) -> list[Stream]:
        """Place the next streams by the offsets of `times`; return the streams to advance.

        Sets `position` when all streams are `located`. The returned streams need no read, because
        the tail holds all that they missed. Empty if the tail is gone: the offsets may be of
        another incarnation.
        """
        if not self._valid:
            self.located = True
            return []
        if not self._plan.begun:
            # The tail may have evicted records while the edge looked up the offsets.
            self.end = self._tail.base.offset
        passed = self._plan.locate(offsets, self.end)
        if not self._plan.unlocated:
            self.located = True
            self.position = min(self._plan.first, self._warming.start, self.end)
            self._checked.extend(self.seekers)
        return passed

    def skip(self) -> bool:
        """Skip unneeded records; return whether to read `run` offsets at `position`.

        Call again after False: a call searches one piece of the index.
        """
        index = self._feed.index
        self.run = BATCH
        if self.position >= self._searched:
            if self._warming.wanted or not len(index) or self.position < index.start:
                return True
            self._searched = min(self.position + PIECE, self.end)
            found = {
                *index.find(self._plan.by_key, self.position, self._searched),
                *(each for each in self._plan.unproven if self.position <= each < self._searched),
            }
            self._wanted = deque(sorted(found))
        while self._wanted and self._wanted[0] < self.position:
            self._wanted.popleft()
        if not self._wanted:
            self.position = self._searched
            return False
        if self._wanted[0] - self.position > NEAR:
            self.position = self._wanted[0]
        last = self.position
        for offset in self._wanted:
            if offset - last > NEAR or offset - self.position >= BATCH:
                break
            last = offset
        self.run = last - self.position + 1
        return True

    def pick(self, fetched: Sequence[Record]) -> Sequence[Record]:
        """Return those of the fetched records that `feed` needs: few of a long scan's."""
        self.records += len(fetched)
        if not self._feed.keyed or not fetched:
            return fetched
        warm = min(self._warming.start, self.end)
        if fetched[0].offset >= warm:
            return fetched
        wanted, unproven = self._plan.by_key, self._plan.unproven
        picked = [each for each in fetched if each.key in wanted]
        if unproven or fetched[-1].offset >= warm:
            picked = [
                each
                for each in fetched
                if each.key in wanted or each.offset in unproven or each.offset >= warm
            ]
        if not picked or picked[-1] is not fetched[-1]:
            picked.append(fetched[-1])  # its timestamp is that of the scan's position
        return picked

    def feed(self, records: Sequence[Record], position: int) -> None:
        """Apply the picked records; `position` is the offset after the last record read.

        No effect if the tail is gone: the records may be of another incarnation.
        """
        if not self._valid:
            return
        keyed, by_key, unproven = self._feed.keyed, self._plan.by_key, self._plan.unproven
        for record in records:
            if record.offset >= self.end:
                break
            if record.offset < self.position:  # the reader went back
                continue
            self._last = record
            if record.offset in unproven:
                self._prove(record)
            searches = by_key.get(record.key if keyed else None)
            if searches is not None:
                self._add(record, searches)
            if record.offset >= self._warming.start:
                self._warming.keep(record)
        self.position = max(self.position, min(position, self.end))

    def harvest(self) -> list[Stream]:
        """Move events that no limit can still exclude to backlogs; return their streams.

        Checks the next `CHECKED` streams.
        """
        if self.end - self.position > self._limits.max_events or not self._valid:
            return []
        ready = []
        for _ in range(min(CHECKED, len(self._checked))):
            stream = self._checked.popleft()
            seeker = self.seekers.get(stream)
            if seeker is None:
                continue
            self._checked.append(stream)
            with self._contain() as contained:
                if seeker.is_ready(self.position, self.end):
                    self._hand_over(seeker)
                    ready.append(stream)
            if contained.failed:
                self.failed.append(stream)
        return ready

    def finish(self, most: int) -> list[Stream]:
        """Remove up to `most` streams from a scan that ends, complete or not; return them.

        After a complete scan a stream has all events before the tail's base. Otherwise it keeps its
        position and requests another scan.
        """
        complete = self.position >= self.end and self._valid
        streams = []
        for stream in list(islice(self.seekers, most)):
            with self._contain() as contained:
                seeker = self._plan.remove(stream)
                seeker.state.scanning = False
                if complete:
                    seeker.state.limited = seeker.from_ < self.end
                    self._hand_over(seeker)
                streams.append(stream)
            if contained.failed:
                self.failed.append(stream)
        if not complete:
            self._warming.stop()
        return streams

    @property
    def finished(self) -> bool:
        """Whether no stream and no record for the tail is left."""
        return not self.seekers and not self._warming.pending

    def warm_tail(self, most: int) -> int:
        """Move the newest `most` collected records to the tail's base; return their number.

        Ends when the tail is gone or has evicted records, and at an unexpected exception.
        """
        piece: list[Record] = []
        with self._contain() as contained:
            if not self._valid or self._tail.base.offset != self.end:
                self._warming.stop()
                return 0
            piece, base = self._warming.pop(most)
            self._tail.warm(base, piece)
            self.end = base.offset
            self._feed.index.clear()  # these records are in the tail again
        if contained.failed or not self._warming:
            self._warming.stop()
        return len(piece)

    def remove(self, stream: Stream) -> None:
        """Remove a stream from the scan."""
        self._plan.remove(stream)

    def _add(self, record: Record, searches: Mapping[Wanted, Search]) -> None:
        with self._contained:
            event = self._interpreter.decode(self._feed, record)
            if event is not None:
                for search in searches.values():
                    search.add(record, event)
            return
        self._contained = self._contain()
        found = list(searches.values())
        self.failed += [each.stream for each in self.seekers.values() if each.search in found]

    def _prove(self, record: Record) -> None:
        for seeker in self._plan.unproven.pop(record.offset):
            if seeker.stream not in self.seekers:
                continue
            with self._contain() as contained:
                position = seeker.state.position
                if position.timestamp == record.timestamp:
                    seeker.state.checked = True
                else:
                    assert isinstance(position, OffsetPosition)
                    seeker.state.reset(position, self._feed.entry(position))
                    self.remove(seeker.stream)
                    self._feed.wait(seeker.stream, seeker.state)
            if contained.failed:
                self.failed.append(seeker.stream)

    def _hand_over(self, seeker: Seeker) -> None:
        state, last = seeker.state, self._last
        part, first = seeker.collect(self.position)
        if seeker.limit is not None:
            next_ = min(seeker.from_, self.end) if first is None else first
            self._plan.add_gap(seeker, GapReason.LIMIT, seeker.limit, next_)
            seeker.limit = None
        if part is not None:
            state.backlog.append(part)
            self._events += part.end - part.begin
        state.checked = True
        if last is None:
            state.next_position = OffsetPosition(self.position, state.position.timestamp, False)
            return
        state.next_position = OffsetPosition.after(last)
        if state.next_position.offset < self.position:
            state.next_position = OffsetPosition(
                self.position, state.next_position.timestamp, False
            )
