"""Runs: frames of consecutive events, shared by streams with the same cursor.

After an outage, thousands of streams have missed the same broadcasts. Their frames are equal if
their cursors are equal, in the event's partition and in every other partition of the id. A
partition is read in runs, from one multiple of `RUN` offsets to the next, and streams that begin at
different offsets share all runs but the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.core import frame
from gateway.core.budget import EVENT
from gateway.core.records import OffsetPosition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.budget import Budget
    from gateway.core.catch_up_state import Part
    from gateway.core.feed import PartitionFeed
    from gateway.core.interpreter import Interpreter
    from gateway.core.records import Record
    from gateway.core.stream import Stream
    from gateway.core.tail import Tail

RUN = 32
"""Offsets. Streams that begin at different offsets build half a run each, at some 2 µs an event; an
existing run costs half a microsecond."""

PIECE = 65_536
"""Bytes after which a run ends and the stream's transport is written to, which may then be full:
the default high-water mark of asyncio's transports."""

SHARED_BYTES = 8_388_608
"""Maximum size of the stored runs; all are dropped when it is exceeded, and once a second, because
runs are useful only while many streams catch up."""


class Run(NamedTuple):
    """Frames of `events` events, not chunked, in `data`.

    `position` is after the last record, and `end` is one after that record's index in the list.
    """

    data: bytes
    events: int
    position: OffsetPosition
    end: int


class Framing(NamedTuple):
    """What the frames of a partition's events have in common for one stream."""

    stream: Stream
    feed: PartitionFeed
    around: tuple[bytes, bytes]
    """The parts of the stream's id before and after the entry of this partition."""
    entry: bytes | None
    """Replaces that entry while a gap `reset` is pending."""


class Runs:
    """Builds runs, and stores those of broadcasts and groups, which streams share."""

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter
        self._shared: dict[tuple[object, ...], Run] = {}
        self._size = 0

    def drop(self) -> None:
        """Drop all stored runs."""
        self._shared.clear()
        self._size = 0

    def of_tail(self, framing: Framing, tail: Tail, offset: int, budget: Budget) -> Run | None:
        """Return the run of a shared partition that begins at `offset`; None at the tail's end."""
        if offset >= tail.head.offset:
            return None
        stream, feed, around, entry = framing
        keys = feed.keys(stream)
        key = (tail, offset, around, entry, stream.filter, keys)
        run = self._shared.get(key)
        if run is None:
            records = tail.since_any(offset, keys, RUN)
            if not records:  # only other groups' records, or none after a hole
                return None
            run = self.build(framing, records, 0, len(records), budget)
            self._keep(key, run)
        return run

    def of_found(self, framing: Framing, part: Part, budget: Budget) -> Run:
        """Return the run with which a part of the events that a scan has found begins."""
        found, begin, end = part
        if not framing.feed.shared:
            return self.build(framing, found.records, begin, end, budget)
        key = (found, begin, end, framing.around, framing.entry)
        run = self._shared.get(key)
        if run is None:
            run = self.build(framing, found.records, begin, end, budget)
            self._keep(key, run)
        return run

    def _keep(self, key: tuple[object, ...], run: Run) -> None:
        self._size += len(run.data)
        if self._size > SHARED_BYTES:
            self._shared.clear()
            self._size = len(run.data)
        self._shared[key] = run

    def build(
        self, framing: Framing, records: Sequence[Record], begin: int, end: int, budget: Budget
    ) -> Run:
        """Return the run of `records` that begins at index `begin` and ends before `end`."""
        stream, feed, around, entry = framing
        decode, chosen = self._interpreter.decode, stream.filter
        border = (records[begin].offset // RUN + 1) * RUN
        framed: list[Record] = []
        bodies: list[bytes] = []
        size = 0
        index = begin
        last = records[begin]
        while index < end and size < PIECE and (feed.keyed or records[index].offset < border):
            last = records[index]
            index += 1
            event = decode(feed, last)
            if event is None or (chosen is not None and not chosen.accepts(event)):
                continue
            framed.append(last)
            bodies.append(event.body)
            size += len(event.body)
        budget.left -= EVENT * (index - begin)
        entries = feed.entries_after(framed) if entry is None else [entry] * len(framed)
        data = frame.events(*around, entries, bodies)
        return Run(data, len(framed), OffsetPosition.after(last), index)
