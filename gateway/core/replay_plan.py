"""Replay plan: where each stream that waits for a scan continues, and its gaps.

Effect of an id for each partition; this module implements the table:

    position                                           | gap      | the stream continues from
    ---------------------------------------------------+----------+---------------------------------
    an offset inside the partition                     |          | that offset
    an offset before the log start                     | expired  | the log start
    an offset beyond the log end                       | reset    | the id's timestamp
    another incarnation's tag (`start_states`)         | reset    | the id's timestamp
    the previous record has another timestamp          | reset    | the id's timestamp
    a time                                             |          | the first record at or after it
    more records, or older ones, than the limits allow | limit    | the newest part within them
    more events than the limits allow                  | limit    | the newest events within them

A position that cannot be verified is accepted: the previous record may be a transaction marker,
aborted, compacted, or may never have existed.

A record without a timestamp (message format 0, or a producer that sends -1) has no known age. The
maximum age does not exclude it unless a later event of the stream is older; the other limits do.

The limits apply to missed records only: those from `CatchUpState.until` on were written after the
stream was opened.

Threats: a forged id can request any range of the partition, so the limits bound a scan before it
begins, and events are selected by the authenticated user's key only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from typing import TYPE_CHECKING

from gateway.core.gap import GapReason
from gateway.core.limits import Extent
from gateway.core.records import OffsetPosition, TimePosition
from gateway.core.seeker import NEVER, Search, Seeker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.catch_up_state import CatchUpState
    from gateway.core.containment import Contain
    from gateway.core.feed import PartitionFeed
    from gateway.core.filter import EventFilter
    from gateway.core.interpreter import Interpreter
    from gateway.core.limits import Limits
    from gateway.core.stream import Stream

SHORT = 1000
"""Offsets. A range beyond the limits is still read if it is not longer than this, because offsets
do not tell whether it contains records: the last record of a quiet partition is often followed by a
transaction marker only, and an empty gap must not be sent. For the same reason the range before the
first young record is skipped only for an old cursor."""

LOCATED = 200
"""Streams placed in one call of `Plan.locate`: some milliseconds."""


Wanted = tuple[tuple[bytes | None, ...], "EventFilter | None"]
"""What a stream looks for in a partition: record keys, and a filter."""


class Plan:
    """Where the streams of one scan continue: call `begin`, then `locate` until none is left.

    Raises `ValueError` for a feed without a tail.
    """

    def __init__(
        self,
        feed: PartitionFeed,
        waiting: Mapping[Stream, CatchUpState],
        limits: Limits,
        interpreter: Interpreter,
        contain: Contain,
    ) -> None:
        if feed.tail is None:
            raise ValueError("a scan ends where the tail begins, and there is none")
        self.tail = feed.tail
        self.seekers = {stream: Seeker(stream, state) for stream, state in waiting.items()}
        self.by_key: dict[bytes | None, dict[Wanted, Search]] = {}
        """Searches by each of their keys."""
        self._searches: dict[Wanted, Search] = {}
        self.unproven: dict[int, list[Seeker]] = {}
        """Streams whose positions a record can verify, by its offset."""
        self.extent = Extent(0, 0, 0, 0)
        """The argument of `begin`."""
        self.begun = False
        """Whether `locate` was called."""
        self.unlocated: deque[Seeker] = deque(self.seekers.values())
        """Streams that `locate` has not placed yet."""
        self.first = NEVER
        """The earliest offset from which a stream needs a read."""
        self.failed: list[Stream] = []
        """Streams whose placing has raised an unexpected exception."""
        self._first_until = 0
        self._contain = contain
        self._feed = feed
        self._limits = limits
        self._interpreter = interpreter
        self._in_tail: dict[Wanted, list[int]] = {}

    @property
    def times(self) -> set[int]:
        """Timestamps (ms) whose offsets `locate` needs; known after `begin`."""
        positions = [seeker.state.position for seeker in self.seekers.values()]
        return {position.timestamp for position in positions if isinstance(position, TimePosition)}

    def begin(self, extent: Extent) -> None:
        """Reset positions beyond the end of the partition."""
        self.extent = extent
        for seeker in self.seekers.values():
            state, position = seeker.state, seeker.state.position
            if (
                isinstance(position, OffsetPosition)
                and position.offset > extent.end
                and not state.checked
            ):
                state.reset(position, self._feed.entry(position))

    def locate(self, offsets: Mapping[int, int], end: int) -> list[Stream]:
        """Place the next `LOCATED` streams and return those that need no read.

        `offsets` maps `times` to offsets; the scan reads up to `end`, where the tail begins. A
        stream whose missed records are all in the tail needs no read and is removed.
        """
        if not self.begun:
            self.begun = True
            for seeker in self.unlocated:
                until, last = seeker.state.until, self.extent.end
                seeker.until = last if until is None else min(last, until)
            self._first_until = min([seeker.until for seeker in self.unlocated], default=0)
        passed: list[Stream] = []
        for _ in range(min(LOCATED, len(self.unlocated))):
            seeker = self.unlocated.popleft()
            if seeker.stream not in self.seekers:
                continue
            with self._contain() as contained:
                if self._place(seeker, offsets, end):
                    passed.append(seeker.stream)
            if contained.failed:
                self.failed.append(seeker.stream)
        if not self.unlocated:
            self._in_tail.clear()
        return passed

    def _place(self, seeker: Seeker, offsets: Mapping[int, int], end: int) -> bool:
        """Find where the stream continues; return whether it needs no read."""
        provable = self._find(seeker, offsets)
        start = self._bound(seeker, end, self._first_until)
        if provable and self.extent.start < start == seeker.offset <= end:
            start -= 1
            self.unproven.setdefault(start, []).append(seeker)
        elif start <= end:
            seeker.state.checked = True
        if start >= end:
            self._pass(seeker)
            return True
        self._seek(seeker)
        self.first = min(self.first, start)
        return False

    def add_gap(self, seeker: Seeker, reason: GapReason, first: int | None, next_: int) -> None:
        """Append a gap to the stream's backlog."""
        since = seeker.state.position.timestamp or None
        seeker.state.backlog.append(self._feed.gap(reason, first, next_, since))

    def remove(self, stream: Stream) -> Seeker:
        """Remove a stream from the scan."""
        seeker = self.seekers.pop(stream)
        if seeker.search is not None:
            seeker.search.seekers -= 1
            if not seeker.search.seekers:
                wanted = self._wanted(stream)
                del self._searches[wanted]
                for key in wanted[0]:
                    searches = self.by_key[key]
                    del searches[wanted]
                    if not searches:
                        del self.by_key[key]
        return seeker

    def _wanted(self, stream: Stream) -> Wanted:
        return self._feed.keys(stream), stream.filter

    def _seek(self, seeker: Seeker) -> None:
        stream = seeker.stream
        wanted = self._wanted(stream)
        search = self._searches.get(wanted)
        if search is None:
            search = self._searches[wanted] = Search(stream.filter, seeker.until)
            for key in wanted[0]:
                self.by_key.setdefault(key, {})[wanted] = search
        search.until = min(search.until, seeker.until)
        search.seekers += 1
        search.most = max(search.most, seeker.room)
        seeker.search = search
        seeker.collected = seeker.offset

    def _find(self, seeker: Seeker, offsets: Mapping[int, int]) -> bool:
        """Set the stream's offset; return whether the previous record can verify it."""
        state, position = seeker.state, seeker.state.position
        if isinstance(position, TimePosition):
            seeker.offset = max(offsets[position.timestamp], self.extent.start)
            state.position = OffsetPosition(seeker.offset, position.timestamp, False)
            state.checked = True
            if state.reset_entry is not None:
                self.add_gap(seeker, GapReason.RESET, None, seeker.offset)
            return False
        seeker.offset = position.offset
        seeker.untimed = not position.seen and position.timestamp == 0
        if position.offset < self.extent.start:
            seeker.offset = self.extent.start
            self.add_gap(seeker, GapReason.EXPIRED, position.offset, seeker.offset)
            return False
        return position.seen and not state.checked

    def _bound(self, seeker: Seeker, end: int, first_until: int) -> int:
        """Apply the limits; return the offset to read from for the stream."""
        limits, extent, until = self._limits, self.extent, seeker.until
        start = seeker.offset
        first = until - limits.max_records
        seeker.from_ = max(start, min(extent.cutoff, until), first)
        seeker.least = max(start, first)
        if seeker.state.position.timestamp < extent.oldest and not seeker.untimed:
            first = seeker.from_
        if first - start > SHORT:
            start = first
        if start < end:
            offsets = self._offsets_in_tail(seeker.stream, end, first_until)
            counted = bisect_left(offsets, until)
            seeker.room = limits.max_events - counted
            if seeker.room < 0:
                start = offsets[counted - limits.max_events]
        if start > seeker.offset:
            seeker.limit, seeker.from_ = seeker.offset, max(start, seeker.from_)
        return start

    def _offsets_in_tail(self, stream: Stream, end: int, first_until: int) -> list[int]:
        """Return offsets, in order, of the stream's newest events in the tail.

        All events from `first_until` on, where events stop counting for every stream, and before it
        at most one more than the limits allow. Computed once for all streams with the same search.
        """
        wanted = self._wanted(stream)
        offsets = self._in_tail.get(wanted)
        if offsets is None:
            offsets = []
            counted = 0
            begin = max(end, self.tail.base.offset)  # the tail may have evicted records
            for record in reversed(self.tail.since_any(begin, wanted[0])):
                event = self._interpreter.decode(self._feed, record)
                if event is not None and stream.wants(event):
                    offsets.append(record.offset)
                    counted += record.offset < first_until
                    if counted > self._limits.max_events:
                        break
            offsets.reverse()
            self._in_tail[wanted] = offsets
        return offsets

    def _pass(self, seeker: Seeker) -> None:
        """Remove the stream from the scan: the tail serves it, within the limits."""
        state, position = seeker.state, seeker.state.position
        assert isinstance(position, OffsetPosition)
        offset = seeker.offset
        if seeker.limit is not None:
            offset = seeker.from_
            self.add_gap(seeker, GapReason.LIMIT, seeker.limit, offset)
        if offset != position.offset:
            state.next_position = OffsetPosition(offset, position.timestamp, False)
            state.checked = True
        state.ahead = offset > self.tail.head.offset
        state.scanning = False
        del self.seekers[seeker.stream]
