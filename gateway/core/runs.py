"""Runs: frames of consecutive events, joined, and built once for all streams with the same cursor.

When a crowd comes back, thousands of streams have missed the same broadcasts. A frame is the same
for all of them whose cursors are the same: in the log of the event, and in every other log that its
id speaks of. So the log is walked in runs, from one multiple of `RUN` offsets to the next: streams
that begin at different places share all runs but the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.core import frame
from gateway.core.budget import EVENT
from gateway.core.records import OffsetPosition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.budget import Budget
    from gateway.core.interpreter import Interpreter
    from gateway.core.records import Record
    from gateway.core.stream import Found, PartitionFeed, Stream
    from gateway.core.tail import Tail

RUN = 32
"""Offsets. Streams that begin at different places build half of it each, at some 2 µs an event; a
run that is there costs half a microsecond."""

PIECE = 65_536
"""Bytes after which a run ends, and after which a stream's transport is asked again whether it is
full: the default high-water mark of asyncio's transports."""

SHARED_BYTES = 8_388_608
"""Of runs that are kept; beyond it all are dropped. They are needed for as long as a crowd is being
brought up, so they are dropped every second too."""


class Run(NamedTuple):
    """Frames without chunks around them: `data` holds `events` of them.

    `place` is behind its last record, and `end` behind that record's index in what was walked.
    """

    data: bytes
    events: int
    position: OffsetPosition
    end: int


class Runs:
    """Builds runs, and keeps those of logs that everybody follows."""

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter
        self._shared: dict[tuple[object, ...], Run] = {}
        self._size = 0

    def drop(self) -> None:
        """Forget what is kept."""
        self._shared.clear()
        self._size = 0

    def of_tail(
        self,
        stream: Stream,
        feed: PartitionFeed,
        tail: Tail,
        offset: int,
        around: tuple[bytes, bytes],
        entry: bytes | None,
        budget: Budget,
    ) -> Run | None:
        """Return the run that begins at `offset`; None at the end of what the tail has.

        `around` are the parts of the stream's id before and after the log's mark; `mark` replaces
        the log's own mark while a gap `reset` is still to be written.
        """
        if offset >= tail.head.offset:
            return None
        key = (tail, offset, around, entry, stream.categories)
        run = None if feed.keyed else self._shared.get(key)
        if run is None:
            records = tail.since(offset, stream.key, RUN)
            if not records:  # others' only, or none behind a hole
                return None
            run = self._build(stream, feed, records, 0, len(records), around, entry, budget)
            if not feed.keyed:
                self._keep(key, run)
        return run

    def of_found(
        self,
        stream: Stream,
        feed: PartitionFeed,
        found: Found,
        begin: int,
        end: int,
        around: tuple[bytes, bytes],
        entry: bytes | None,
        budget: Budget,
    ) -> Run:
        """Return the run that begins with the record of index `begin`, which is before `end`."""
        if feed.keyed:
            return self._build(stream, feed, found.records, begin, end, around, entry, budget)
        key = (found, begin, end, around, entry)
        run = self._shared.get(key)
        if run is None:
            run = self._build(stream, feed, found.records, begin, end, around, entry, budget)
            self._keep(key, run)
        return run

    def _keep(self, key: tuple[object, ...], run: Run) -> None:
        self._size += len(run.data)
        if self._size > SHARED_BYTES:
            self._shared.clear()
            self._size = len(run.data)
        self._shared[key] = run

    def _build(
        self,
        stream: Stream,
        feed: PartitionFeed,
        records: Sequence[Record],
        begin: int,
        end: int,
        around: tuple[bytes, bytes],
        entry: bytes | None,
        budget: Budget,
    ) -> Run:
        decode, categories = self._interpreter.decode, stream.categories
        border = (records[begin].offset // RUN + 1) * RUN
        parts: list[tuple[bytes, bytes]] = []
        size = 0
        index = begin
        last = records[begin]
        while index < end and size < PIECE and (feed.keyed or records[index].offset < border):
            last = records[index]
            index += 1
            event = decode(feed, last)
            if event is None or (categories is not None and event.category not in categories):
                continue
            parts.append((entry or feed.entry_after(last), event.body))
            size += len(event.body)
        budget.left -= EVENT * (index - begin)
        data = frame.events(*around, parts)
        return Run(data, len(parts), OffsetPosition.after(last), index)
