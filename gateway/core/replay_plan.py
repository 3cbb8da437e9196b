"""The plan of a replay: where each stream that waits for a scan goes on, and which gap it is told.

What an id leads to, for each log; this module is the table as code:

    the place                                          | gap      | the stream goes on from
    ---------------------------------------------------+----------+---------------------------------
    an offset inside the log                           |          | that offset
    an offset before the log start                     | expired  | the log start
    an offset beyond the log end                       | reset    | the id's timestamp
    another incarnation's tag (seen by the hub)        | reset    | the id's timestamp
    the record before it has another timestamp         | reset    | the id's timestamp
    a time                                             |          | the first record at or after it
    more records, or older ones, than the limits allow | limit    | the newest part that fits
    more events than the limits allow                  | limit    | the newest events that fit

What cannot be verified is accepted: the record before an offset may be a transaction marker, or
aborted, compacted away, or never have been.

The limits bound what was missed: records from `CatchUpState.until` on were written after the
stream was opened, and do not count.

Threats: an id can be forged to ask for any stretch of the log, so a scan is bounded by the limits
before it begins, and what it finds is chosen by the authenticated user's key alone.
"""

from __future__ import annotations

from bisect import bisect_left
from operator import attrgetter
from typing import TYPE_CHECKING

from gateway.core.gap import GapReason
from gateway.core.limits import Extent
from gateway.core.records import OffsetPosition, TimePosition
from gateway.core.stream import Found, Part

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.interpreter import Interpreter
    from gateway.core.limits import Limits
    from gateway.core.records import Event, Record
    from gateway.core.stream import CatchUpState, PartitionFeed, Stream
    from gateway.core.tail import Tail

SHORT = 1000
"""Offsets. A stretch beyond the limits that is no longer than this is read all the same, because
offsets do not say whether there are records: behind a quiet log's last record often stands nothing
but a transaction marker, and a gap of nothing must not be told. For the same reason a stretch
before the first young record is left out only for a cursor that is old itself."""

_offset = attrgetter("offset")


class Search:
    """What several streams look for together: events of one key, through one filter.

    Thousands of streams that missed the same broadcasts share one list of what was found. Of what
    counts it has the newest `most` at least, and no stream may be sent more.
    """

    __slots__ = ("_categories", "found", "most", "seekers", "trimmed", "until")

    def __init__(self, categories: frozenset[str] | None, until: int) -> None:
        self._categories = categories
        self.found = Found()
        self.most = 0
        self.until = until
        """Events from this offset on count for none of its streams, and are all kept."""
        self.seekers = 0
        """Streams that take part."""
        self.trimmed = -1
        """The offset of the last event that was found and dropped: newer ones are enough."""

    def add(self, record: Record, event: Event) -> None:
        """Take an event of the key, which comes next in the log."""
        if self._categories is not None and event.category not in self._categories:
            return
        records = self.found.records
        records.append(record)
        if len(records) > 2 * self.most + 1 and record.offset < self.until:
            # A new list: parts of the old one may be on their way.
            self.trimmed = records[-self.most - 1].offset
            self.found = Found(records[len(records) - self.most :])


class Seeker:
    """One stream in a scan. What was found for it is a part of what its `quest` has found."""

    __slots__ = (
        "collected",
        "from_",
        "limit",
        "offset",
        "room",
        "search",
        "state",
        "stream",
        "until",
    )

    def __init__(self, stream: Stream, state: CatchUpState) -> None:
        self.stream = stream
        self.state = state
        self.offset = 0
        """The stream's cursor; records from here on are its own."""
        self.from_ = 0
        """Events before this offset are beyond the limits."""
        self.limit: int | None = None
        """The offset at which a gap `limit` begins, if one has to be told."""
        self.until = 0
        """Events from this offset on came after the stream had asked, and count for nothing."""
        self.room = 0
        """How many events the limits allow before `until`, besides those that the tail has."""
        self.collected = 0
        """Up to which offset it was handed what was found."""
        self.search: Search | None = None

    def is_ready(self, position: int, end: int) -> bool:
        """Whether something was found that no limit can take back any more.

        The scan has come to `position` and ends at `end`: there cannot be more events to come than
        offsets in between.
        """
        assert self.search is not None
        records = self.search.found.records
        begin = bisect_left(records, max(self.from_, self.collected), key=_offset)
        counted = bisect_left(records, self.until, lo=begin, key=_offset) - begin
        to_come = max(0, min(end, self.until) - position)
        return begin < len(records) and counted + to_come <= self.room

    def collect(self, position: int) -> tuple[Part | None, int | None]:
        """Return what was found for it since the last time, up to the offset `position`.

        And the offset of the first event of all that are for it, if there is any. Notes in `limit`
        where the limits left something out.
        """
        assert self.search is not None
        found, trimmed = self.search.found, self.search.trimmed
        records, end = found.records, len(found.records)
        first = bisect_left(records, self.collected, key=_offset)
        begin = bisect_left(records, self.from_, lo=first, key=_offset)
        begin = max(begin, bisect_left(records, self.until, key=_offset) - self.room)
        if self.limit is None and (begin > first or trimmed >= self.collected):
            self.limit = self.offset
        if begin > first:
            self.from_ = max(self.from_, records[begin - 1].offset + 1)
        elif trimmed >= self.collected:
            self.from_ = max(self.from_, trimmed + 1)
        self.collected = position
        if begin == end:
            return None, None
        return Part(found, begin, end), records[begin].offset


class Plan:
    """Where the streams of one scan go on: `begin`, then `locate` with the offsets of `times`."""

    def __init__(
        self,
        feed: PartitionFeed,
        tail: Tail,
        waiting: Mapping[Stream, CatchUpState],
        limits: Limits,
        interpreter: Interpreter,
    ) -> None:
        self.seekers = {stream: Seeker(stream, state) for stream, state in waiting.items()}
        self.by_key: dict[bytes | None, dict[frozenset[str] | None, Search]] = {}
        """What is looked for, by key and filter."""
        self.unproven: dict[int, list[Seeker]] = {}
        """Streams whose cursors a record can prove or disprove, by its offset."""
        self.extent = Extent(0, 0, 0, 0)
        """What `begin` was told."""
        self._feed = feed
        self._tail = tail
        self._limits = limits
        self._interpreter = interpreter
        self._in_tail: dict[tuple[bytes, frozenset[str] | None], list[int]] = {}

    @property
    def times(self) -> set[int]:
        """Timestamps (ms) whose offsets `locate` needs; known after `begin`."""
        positions = [seeker.state.position for seeker in self.seekers.values()]
        return {position.timestamp for position in positions if isinstance(position, TimePosition)}

    def begin(self, extent: Extent) -> None:
        """Hold the cursors against where the log ends."""
        self.extent = extent
        for seeker in self.seekers.values():
            state, position = seeker.state, seeker.state.position
            if (
                isinstance(position, OffsetPosition)
                and position.offset > extent.end
                and not state.checked
            ):
                state.reset(self._feed, position)

    def locate(self, offsets: Mapping[int, int], end: int) -> tuple[list[int], list[Stream]]:
        """Find out where to read from, up to the offset `end`, where the tail begins.

        Returns the offsets that each stream needs read from, and the streams for which there is
        nothing to read, because the tail has the rest; those take part no longer.
        """
        starts: list[int] = []
        passed: list[Stream] = []
        for seeker in self.seekers.values():
            state, last = seeker.state, self.extent.end
            seeker.until = last if state.until is None else min(last, state.until)
        first_until = min([seeker.until for seeker in self.seekers.values()], default=0)
        for seeker in list(self.seekers.values()):
            provable = self._find(seeker, offsets)
            start = self._bound(seeker, end, first_until)
            if provable and self.extent.start < start == seeker.offset <= end:
                start -= 1
                self.unproven.setdefault(start, []).append(seeker)
            elif start <= end:
                seeker.state.checked = True
            if start >= end:
                self._pass(seeker)
                passed.append(seeker.stream)
                continue
            starts.append(start)
            self._seek(seeker)
        self._in_tail.clear()
        return starts, passed

    def add_gap(self, seeker: Seeker, reason: GapReason, first: int | None, next_: int) -> None:
        """Put a gap into the stream's backlog."""
        since = seeker.state.position.timestamp or None
        seeker.state.backlog.append(self._feed.gap(reason, first, next_, since))

    def remove(self, stream: Stream) -> Seeker:
        """Forget a stream that takes part."""
        seeker = self.seekers.pop(stream)
        if seeker.search is not None:
            seeker.search.seekers -= 1
            if not seeker.search.seekers:
                searches = self.by_key[self._key(stream)]
                del searches[stream.categories]
                if not searches:
                    del self.by_key[self._key(stream)]
        return seeker

    def _key(self, stream: Stream) -> bytes | None:
        return stream.key if self._feed.keyed else None

    def _seek(self, seeker: Seeker) -> None:
        stream = seeker.stream
        searches = self.by_key.setdefault(self._key(stream), {})
        search = searches.get(stream.categories)
        if search is None:
            search = searches[stream.categories] = Search(stream.categories, seeker.until)
        search.until = min(search.until, seeker.until)
        search.seekers += 1
        search.most = max(search.most, seeker.room)
        seeker.search = search
        seeker.collected = seeker.offset

    def _find(self, seeker: Seeker, offsets: Mapping[int, int]) -> bool:
        """Find the stream's offset in this log; return whether the record before can prove it."""
        state, position = seeker.state, seeker.state.position
        if isinstance(position, TimePosition):
            seeker.offset = max(offsets[position.timestamp], self.extent.start)
            state.position = OffsetPosition(seeker.offset, position.timestamp, False)
            state.checked = True
            if state.reset_entry is not None:
                self.add_gap(seeker, GapReason.RESET, None, seeker.offset)
            return False
        seeker.offset = position.offset
        if position.offset < self.extent.start:
            seeker.offset = self.extent.start
            self.add_gap(seeker, GapReason.EXPIRED, position.offset, seeker.offset)
            return False
        return position.seen and not state.checked

    def _bound(self, seeker: Seeker, end: int, first_until: int) -> int:
        """Apply the limits; return the offset from which the log has to be read for the stream."""
        limits, extent, until = self._limits, self.extent, seeker.until
        start = seeker.offset
        first = until - limits.max_records
        seeker.from_ = max(start, min(extent.cutoff, until), first)
        if seeker.state.position.timestamp < extent.oldest:
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
        """Return offsets, in order, of the newest events of the tail that are for the stream.

        All from `first_until` on, which is the first offset from which events count for nobody, and
        before it one more than the limits allow at most. Walked once for all who look for the same.
        """
        key = (stream.key if self._feed.keyed else b"", stream.categories)
        offsets = self._in_tail.get(key)
        if offsets is None:
            offsets = []
            counted = 0
            for record in reversed(self._tail.since(end, stream.key)):
                event = self._interpreter.decode(self._feed, record)
                if event is not None and stream.wants(event):
                    offsets.append(record.offset)
                    counted += record.offset < first_until
                    if counted > self._limits.max_events:
                        break
            offsets.reverse()
            self._in_tail[key] = offsets
        return offsets

    def _pass(self, seeker: Seeker) -> None:
        """Let the tail serve the stream, from where the limits let it begin."""
        state, position = seeker.state, seeker.state.position
        assert isinstance(position, OffsetPosition)
        offset = seeker.offset
        if seeker.limit is not None:
            offset = seeker.from_
            self.add_gap(seeker, GapReason.LIMIT, seeker.limit, offset)
        if offset != position.offset:
            state.next_position = OffsetPosition(offset, position.timestamp, False)
            state.checked = True
        state.ahead = offset > self._tail.head.offset
        state.scanning = False
        del self.seekers[seeker.stream]
