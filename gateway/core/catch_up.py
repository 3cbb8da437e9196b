"""Bringing a stream up: from the tail in one step, or by way of a scan, until it is live.

`advance` is the only way to live. It is called whenever something may have changed for a stream
that is behind: it has just been opened, its transport has drained, a scan has found something for
it, or the tail has come up to where it is. It goes as far as transport and tails allow, and leaves
the stream in one of the states of `gateway.core.stream`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core import frame
from gateway.core.event import Event
from gateway.core.frame import Gap, GapReason
from gateway.core.log import Position, Since
from gateway.core.observer import Path

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.interpreter import Interpreter
    from gateway.core.limits import Limits
    from gateway.core.log import Moment
    from gateway.core.observer import Observer
    from gateway.core.stream import Behind, Feed, Stream
    from gateway.core.tail import Tail

PIECE = 65_536
"""Bytes that a stream is brought up by in one write, before its transport is asked again whether it
is full: the default high-water mark of asyncio's transports."""


class CatchUp:
    """Brings streams up. `wake` is called with each feed that a stream needs a scan of."""

    def __init__(
        self,
        interpreter: Interpreter,
        limits: Limits,
        observer: Observer,
        wake: Callable[[Feed], None],
    ) -> None:
        self._interpreter = interpreter
        self._limits = limits
        self._observer = observer
        self._wake = wake
        self._held: list[bytes] = []
        """What is to be written to the stream that is being brought up: to hand bytes to the kernel
        costs more than to make them, so most streams are brought up in one write."""

    def advance(self, stream: Stream, moment: Moment, greeting: bytes = b"") -> None:
        """Bring the stream up in every log, as far as its transport and the tails allow.

        It is written `greeting` before anything else.
        """
        assert not self._held, "one stream at a time"
        if greeting:
            self._held.append(greeting)
        self._advance(stream, moment)
        self._flush(stream, moment)

    def _advance(self, stream: Stream, moment: Moment) -> None:
        replayed = False
        for feed, behind in list(stream.behind.items()):
            if behind.backlog:
                self._drain_backlog(stream, feed, behind, moment)
            if stream.stuck_since is not None:
                return
            if behind.then is not None:
                behind.place, behind.then = behind.then, None
                replayed = True
            if not behind.scanning:
                self._join(stream, feed, behind, moment)
            if stream.stuck_since is not None:
                return
        if replayed:
            # A scan may have passed hours of others' events: a client that drops now must not
            # come back for them.
            self._held.append(frame.id_block(stream.id()))

    def _join(self, stream: Stream, feed: Feed, behind: Behind, moment: Moment) -> None:
        """Make the stream live, if the tail reaches back to where it is; ask for a scan if not."""
        tail, place = feed.tail, behind.place
        if tail is None:
            feed.parked[stream] = None
            return
        if isinstance(place, Since) or place.offset < tail.base.offset:
            behind.limited = False
            self._ask(stream, feed, behind)
            return
        if place.offset > tail.head.offset:
            if behind.ahead:
                feed.parked[stream] = None
            else:
                self._ask(stream, feed, behind)
            return
        if not behind.checked:
            fits = tail.fits(place)
            if fits is False:
                behind.reset(feed, place)
            if not fits:
                self._ask(stream, feed, behind)
                return
            behind.checked = True
        if not behind.limited:
            behind.limited = True
            self._limit(stream, feed, behind, place, moment)
            self._drain_backlog(stream, feed, behind, moment)
        self._catch_up(stream, feed, behind, tail, moment)

    def _ask(self, stream: Stream, feed: Feed, behind: Behind) -> None:
        behind.scanning = True
        feed.waiting[stream] = behind
        self._wake(feed)

    def _limit(
        self, stream: Stream, feed: Feed, behind: Behind, place: Position, moment: Moment
    ) -> None:
        """Apply the limits of a replay to a cursor that memory can serve."""
        tail, limits = feed.tail, self._limits
        assert tail is not None
        oldest = tail.first_at_or_after(place.offset, moment.wall - limits.max_age_ms)
        oldest = max(oldest, tail.head.offset - limits.max_records)
        records = tail.since(place.offset, stream.key)
        if len(records) <= limits.max_events and (not records or records[0].offset >= oldest):
            return
        kept, room = place.offset, limits.max_events
        for record in reversed(records):
            event = self._interpreter.decode(feed, record)
            if event is None or not stream.wants(event):
                continue
            if record.offset < oldest or room == 0:
                since = place.timestamp or None
                kept = max(kept, oldest)
                behind.backlog.append(feed.gap(GapReason.LIMIT, place.offset, kept, since))
                return
            kept = record.offset
            room -= 1

    def _catch_up(
        self, stream: Stream, feed: Feed, behind: Behind, tail: Tail, moment: Moment
    ) -> None:
        """Write what the tail has for the stream; live, unless its transport fills up before."""
        assert isinstance(behind.place, Position)
        frames: list[bytes] = []
        deliveries: list[tuple[int, int]] = []
        size = 0
        before, after = stream.id_around(feed)
        for record in tail.since(behind.place.offset, stream.key):
            event = self._interpreter.decode(feed, record)
            behind.place = place = Position.after(record)
            if event is None or not stream.wants(event):
                continue
            event_id = before + (behind.untold or feed.mark(place)) + after
            frames.append(frame.event(event_id, event.body, chunked=False))
            deliveries.append((record.timestamp, 1))
            size += len(event.body)
            if size >= PIECE:
                self._hand(stream, Path.TAIL, frames, deliveries, moment)
                self._flush(stream, moment)
                frames, deliveries, size = [], [], 0
                if stream.stuck_since is not None:
                    return
        # Live first: a transport that fills up with the last piece falls behind from the head.
        del stream.behind[feed]
        feed.join(stream)
        if frames:
            self._hand(stream, Path.TAIL, frames, deliveries, moment)

    def _drain_backlog(self, stream: Stream, feed: Feed, behind: Behind, moment: Moment) -> None:
        """Write what a scan has found, piece by piece, as long as the transport takes it."""
        backlog = behind.backlog
        before, after = stream.id_around(feed)
        while backlog and stream.stuck_since is None:
            frames: list[bytes] = []
            deliveries: list[tuple[int, int]] = []
            size = 0
            while backlog and size < PIECE:
                item = backlog.popleft()
                if isinstance(item, Gap):
                    assert item.next is not None
                    behind.place = Position(item.next, item.since or 0, False)
                    behind.untold = None
                    frames.append(frame.gap(stream.id(), item))
                    self._observer.gap(item.reason)
                    continue
                event = item.event
                assert isinstance(event, Event)
                behind.place = place = Position.after(item)
                event_id = before + (behind.untold or feed.mark(place)) + after
                frames.append(frame.event(event_id, event.body, chunked=False))
                deliveries.append((item.timestamp, 1))
                size += len(event.body)
            self._hand(stream, Path.REPLAY, frames, deliveries, moment)
            if size >= PIECE:
                self._flush(stream, moment)

    def _hand(
        self,
        stream: Stream,
        path: Path,
        frames: list[bytes],
        deliveries: list[tuple[int, int]],
        moment: Moment,
    ) -> None:
        stream.sent += len(deliveries)
        if deliveries:
            self._observer.sent(path, deliveries, moment)
        self._held += frames

    def _flush(self, stream: Stream, moment: Moment) -> None:
        if self._held:
            held, self._held = self._held, []
            self.write(stream, b"".join(held), moment)

    def write(self, stream: Stream, data: bytes, moment: Moment) -> None:
        """Hand bytes of the stream to its sink, framed, and take the time of it."""
        stream.written = moment.monotonic
        stream.sink.write(frame.chunk(data) if stream.sink.chunked else data)
