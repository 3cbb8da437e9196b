"""Replay: one scan of a log that brings many cursors up at once.

What an id leads to, for each log; `Scan.begin`, `locate` and `feed` are the table as code:

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

A scan reads from the earliest place that it serves up to where the tail begins, and steps over
what the log's index says concerns nobody. It does no I/O: the edge tells it where the log starts
and ends, feeds it what it reads, and is told where to go on and when to stop.
Threats: an id can be forged to ask for any stretch of the log, so a scan is bounded by the limits
before it begins, and what it finds is chosen by the authenticated user's key alone.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from gateway.core.frame import GapReason
from gateway.core.limits import Extent
from gateway.core.log import Position, Since

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.core.interpreter import Interpreter
    from gateway.core.limits import Limits
    from gateway.core.log import Log, Record
    from gateway.core.stream import Behind, Feed, Stream

SHORT = 1000
"""Offsets. A stretch beyond the limits that is no longer than this is read all the same, because
offsets do not say whether there are records: behind a quiet log's last record often stands nothing
but a transaction marker, and a gap of nothing must not be told. For the same reason a stretch
before the first young record is left out only for a cursor that is old itself."""


BATCH = 500
"""Records to be read between two looks at the loop: some 4 ms of decoding."""

PIECE = 65_536
"""Offsets of the index that are looked at in one step: some 0.2 ms for one key, 8 ms for many."""

NEAR = 250
"""Offsets. To read on over so many costs about what it costs to go to another place: 2 ms."""


class Fetched(Protocol):
    """A record as the edge has it, before it is made into the core's."""

    @property
    def offset(self) -> int:
        """Where it is in its log."""
        ...

    @property
    def key(self) -> bytes | None:
        """Whose it is."""
        ...


FetchedT = TypeVar("FetchedT", bound=Fetched)


class Summary(NamedTuple):
    """What a scan was: its log, the numbers of the streams that it began for, what it read."""

    log: Log
    streams: tuple[int, ...]
    records: int
    events: int
    """Found for one of the streams, and handed over."""


class Seeker:
    """One stream in a scan, and what was found for it."""

    __slots__ = ("behind", "found", "from_", "limit", "offset", "room", "stream")

    def __init__(self, stream: Stream, behind: Behind) -> None:
        self.stream = stream
        self.behind = behind
        self.offset = 0
        """The stream's cursor; records from here on are its own."""
        self.from_ = 0
        """Events before this offset are beyond the limits."""
        self.limit: int | None = None
        """The offset at which a gap `limit` begins, if one has to be told."""
        self.room = 0
        """How many events the limits allow from here; the tail has the rest."""
        self.found: deque[Record] = deque()

    def drop(self, record: Record) -> None:
        """Leave out an event of the stream, which makes a gap."""
        if self.limit is None:
            self.limit = self.offset
        self.from_ = max(self.from_, record.offset + 1)


class Scan:
    """One pass over a log on behalf of the streams that waited for it.

    Life: `begin`; `warm` if the tail wants it; `locate` with the offsets of `times`; while
    `reading`, `skip` and, where that says so, `feed`; `finish`. What `locate`, `harvest` and
    `finish` return are streams that can go on.
    """

    def __init__(
        self,
        feed: Feed,
        waiting: Mapping[Stream, Behind],
        limits: Limits,
        interpreter: Interpreter,
    ) -> None:
        assert feed.tail is not None, "a scan ends where the tail begins"
        self.seekers = {stream: Seeker(stream, behind) for stream, behind in waiting.items()}
        self.position = -1
        """The next offset to be read; known after `locate`."""
        self.end = feed.tail.base.offset
        """Where to stop."""
        self._tail = feed.tail
        self._feed = feed
        self._limits = limits
        self._interpreter = interpreter
        self.extent = Extent(0, 0, 0, 0)
        """What `begin` was told."""
        self.records = 0
        """Records read so far."""
        self._streams = tuple([stream.number for stream in waiting])
        self._events = 0
        self._last: Record | None = None
        self._by_key: dict[bytes | None, list[Seeker]] = {}
        self._unproven: dict[int, list[Seeker]] = {}
        self.run = BATCH
        """How many records are to be read from `position` on; known after `skip`."""
        self._wanted: deque[int] = deque()
        """Offsets that may concern somebody, up to `_looked`, by the index."""
        self._looked = -1
        self._warm: deque[Record] = deque()
        self._warm_from: int | None = None
        self._warm_room = 0

    @property
    def summary(self) -> Summary:
        """What the scan was; complete after `finish`."""
        return Summary(self._feed.log, self._streams, self.records, self._events)

    @property
    def reading(self) -> bool:
        """Whether there is more to read, for somebody who is still there."""
        wanted = bool(self.seekers) or self._warm_from is not None
        return wanted and self.position < self.end and self._valid

    @property
    def _valid(self) -> bool:
        """Whether the log is still read as it was when the scan began."""
        return self._feed.tail is self._tail

    @property
    def times(self) -> set[int]:
        """Timestamps (ms) whose offsets `locate` needs; known after `begin`."""
        places = [seeker.behind.place for seeker in self.seekers.values()]
        return {place.timestamp for place in places if isinstance(place, Since)}

    def begin(self, extent: Extent) -> None:
        """Hold the cursors against where the log ends; to no effect if the tail has gone."""
        self.extent = extent
        if not self._valid:
            return
        for seeker in self.seekers.values():
            behind, place = seeker.behind, seeker.behind.place
            if isinstance(place, Position) and place.offset > extent.end and not behind.checked:
                behind.reset(self._feed, place)

    def warm(self, start: int, room: int) -> None:
        """Keep every record from the offset `start` on for the tail, as far as `room` bytes go."""
        self._warm_from = min(max(start, self.extent.start), self.end)
        self._warm_room = room

    def locate(self, offsets: Mapping[int, int]) -> list[Stream]:
        """Take the offsets of `times`, and find out where to read from.

        Returns the streams for which there is nothing to read, because the tail has the rest; none
        if the tail has gone meanwhile, since the offsets may be those of another log.
        """
        if not self._valid:
            return []
        # The tail may have let go of records while the offsets were looked up.
        self.end = self._tail.base.offset
        starts = [self.end if self._warm_from is None else self._warm_from]
        passed: list[Stream] = []
        for seeker in list(self.seekers.values()):
            provable = self._find(seeker, offsets)
            start = self._bound(seeker)
            if provable and self.extent.start < start == seeker.offset <= self.end:
                start -= 1
                self._unproven.setdefault(start, []).append(seeker)
            elif start <= self.end:
                seeker.behind.checked = True
            if start >= self.end:
                self._pass(seeker)
                passed.append(seeker.stream)
                continue
            starts.append(start)
            self._by_key.setdefault(self._key(seeker.stream), []).append(seeker)
        self.position = min(starts)
        return passed

    def skip(self) -> bool:
        """Step over what concerns nobody; return whether there is anything to read at `position`.

        If not, call it again: it looks at a piece of the index at a time.
        """
        index = self._feed.index
        self.run = BATCH
        if self.position >= self._looked:
            if self._warm_from is not None or not len(index) or self.position < index.start:
                return True
            self._looked = min(self.position + PIECE, self.end)
            found = {
                *index.find(self._by_key, self.position, self._looked),
                *(offset for offset in self._unproven if self.position <= offset < self._looked),
            }
            self._wanted = deque(sorted(found))
        while self._wanted and self._wanted[0] < self.position:
            self._wanted.popleft()
        if not self._wanted:
            self.position = self._looked
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

    def pick(self, fetched: Sequence[FetchedT]) -> Sequence[FetchedT]:
        """Return those of the records that come next which `feed` has a use for.

        Hardly any of a long scan, so that the others need not be made into anything.
        """
        self.records += len(fetched)
        if not self._feed.keyed or not fetched:
            return fetched
        warm = self.end if self._warm_from is None else self._warm_from
        if fetched[0].offset >= warm:
            return fetched
        wanted, unproven = self._by_key, self._unproven
        picked = [each for each in fetched if each.key in wanted]
        if unproven or fetched[-1].offset >= warm:
            picked = [
                each
                for each in fetched
                if each.key in wanted or each.offset in unproven or each.offset >= warm
            ]
        if not picked or picked[-1] is not fetched[-1]:
            picked.append(fetched[-1])  # for the time of where the scan has come to
        return picked

    def feed(self, records: Sequence[Record], position: int) -> None:
        """Take what was picked of the next records; `position` is the offset that follows them.

        To no effect if the tail has gone meanwhile: they may be of another log.
        """
        if not self._valid:
            return
        assert position >= self.position, "a scan only goes forward"
        keyed = self._feed.keyed
        for record in records:
            if record.offset >= self.end:
                break
            self._last = record
            if record.offset in self._unproven:
                self._prove(record)
            seekers = self._by_key.get(record.key if keyed else None)
            if seekers is not None:
                self._found(record, seekers)
            if self._warm_from is not None and record.offset >= self._warm_from:
                self._keep(record)
        self.position = min(position, self.end)

    def harvest(self) -> list[Stream]:
        """Move what was found to the backlogs, as far as no limit can take it back.

        There cannot be more events to come than there are offsets left.
        """
        left = self.end - self.position
        if left > self._limits.max_events or not self._valid:
            return []
        ready = [
            seeker
            for seeker in self.seekers.values()
            if seeker.found and len(seeker.found) + left <= seeker.room
        ]
        for seeker in ready:
            self._hand_over(seeker)
        return [seeker.stream for seeker in ready]

    def finish(self) -> list[Stream]:
        """End the scan, complete or not.

        Complete: every stream has all up to where the tail began. Otherwise each keeps its place,
        and asks again.
        """
        complete = self.position >= self.end and self._valid
        for seeker in self.seekers.values():
            seeker.behind.scanning = False
            if complete:
                seeker.behind.limited = seeker.from_ <= self.end
                self._hand_over(seeker)
        if complete and self._warm_from is not None and self._tail.base.offset == self.end:
            self._tail.warm(Position(self._warm_from, 0, False), list(self._warm))
            self._feed.index.clear()  # of what had left the tail, and is in it again
        return list(self.seekers)

    def leave(self, stream: Stream) -> None:
        """Forget a stream that takes part."""
        seeker = self.seekers.pop(stream)
        key = self._key(stream)
        others = [other for other in self._by_key.get(key, ()) if other is not seeker]
        if others:
            self._by_key[key] = others
        else:
            self._by_key.pop(key, None)

    def _key(self, stream: Stream) -> bytes | None:
        return stream.key if self._feed.keyed else None

    def _find(self, seeker: Seeker, offsets: Mapping[int, int]) -> bool:
        """Find the stream's offset in this log; return whether the record before can prove it."""
        behind, place = seeker.behind, seeker.behind.place
        if isinstance(place, Since):
            seeker.offset = max(offsets[place.timestamp], self.extent.start)
            behind.place = Position(seeker.offset, place.timestamp, False)
            behind.checked = True
            if behind.untold is not None:
                self._tell(seeker, GapReason.RESET, None, seeker.offset)
            return False
        seeker.offset = place.offset
        if place.offset < self.extent.start:
            seeker.offset = self.extent.start
            self._tell(seeker, GapReason.EXPIRED, place.offset, seeker.offset)
            return False
        return place.seen and not behind.checked

    def _bound(self, seeker: Seeker) -> int:
        """Apply the limits; return the offset from which the log has to be read for the stream."""
        limits, extent, stream = self._limits, self.extent, seeker.stream
        start = seeker.offset
        first = extent.end - limits.max_records
        seeker.from_ = max(start, extent.cutoff, first)
        if seeker.behind.place.timestamp < extent.oldest:
            first = seeker.from_
        if first - start > SHORT:
            start = first
        if start < self.end:
            newest = self._newest_in_tail(stream, limits.max_events + 1)
            seeker.room = limits.max_events - len(newest)
            if seeker.room < 0:
                start = newest[-2].offset
        if start > seeker.offset:
            seeker.limit, seeker.from_ = seeker.offset, max(start, seeker.from_)
        return start

    def _newest_in_tail(self, stream: Stream, most: int) -> list[Record]:
        """Return the newest records of the tail with events for the stream, the newest first."""
        records = self._tail.since(self.end, stream.key)
        newest: list[Record] = []
        for record in reversed(records):
            event = self._interpreter.decode(self._feed, record)
            if event is not None and stream.wants(event):
                newest.append(record)
                if len(newest) == most:
                    break
        return newest

    def _pass(self, seeker: Seeker) -> None:
        """Let the tail serve the stream, from where the limits let it begin."""
        behind, place = seeker.behind, seeker.behind.place
        assert isinstance(place, Position)
        offset = seeker.offset
        if seeker.limit is not None:
            offset = seeker.from_
            self._tell(seeker, GapReason.LIMIT, seeker.limit, offset)
        if offset != place.offset:
            behind.then = Position(offset, place.timestamp, False)
            behind.checked = True
        behind.ahead = offset > self._tail.head.offset
        behind.scanning = False
        del self.seekers[seeker.stream]

    def _found(self, record: Record, seekers: list[Seeker]) -> None:
        event = self._interpreter.decode(self._feed, record)
        if event is None:
            return
        for seeker in seekers:
            if record.offset < seeker.offset or not seeker.stream.wants(event):
                continue
            if record.offset < seeker.from_:
                seeker.drop(record)
                continue
            seeker.found.append(record)
            if len(seeker.found) > seeker.room:
                seeker.drop(seeker.found.popleft())

    def _prove(self, record: Record) -> None:
        for seeker in self._unproven.pop(record.offset):
            place = seeker.behind.place
            if seeker.stream not in self.seekers:
                continue
            if place.timestamp == record.timestamp:
                seeker.behind.checked = True
            else:
                assert isinstance(place, Position)
                seeker.behind.reset(self._feed, place)
                self.leave(seeker.stream)
                self._feed.waiting[seeker.stream] = seeker.behind

    def _tell(self, seeker: Seeker, reason: GapReason, first: int | None, next_: int) -> None:
        since = seeker.behind.place.timestamp or None
        seeker.behind.backlog.append(self._feed.gap(reason, first, next_, since))

    def _hand_over(self, seeker: Seeker) -> None:
        behind, last = seeker.behind, self._last
        if seeker.limit is not None:
            next_ = seeker.found[0].offset if seeker.found else min(seeker.from_, self.end)
            self._tell(seeker, GapReason.LIMIT, seeker.limit, next_)
            seeker.limit = None
        behind.backlog.extend(seeker.found)
        self._events += len(seeker.found)
        behind.checked = True
        seeker.found.clear()
        if last is None:
            behind.then = Position(self.position, behind.place.timestamp, False)
            return
        behind.then = Position.after(last)
        if behind.then.offset < self.position:
            behind.then = Position(self.position, behind.then.timestamp, False)

    def _keep(self, record: Record) -> None:
        self._warm.append(record)
        self._warm_room -= record.size
        while self._warm_room < 0:
            oldest = self._warm.popleft()
            self._warm_room += oldest.size
            self._warm_from = oldest.offset + 1
