"""The hub: every stream of a worker, every log that they follow, and what moves between them.

Its rules:

- `dispatch` takes a fetched batch whole: each record goes to its tail, each event is framed once,
  and each stream that is touched gets one write with everything for it.
- The hub never waits for a client. `stuck` makes a stream behind in all its logs, where it costs
  nothing; `drained` brings it up again, from where it was.
- Joining is one step: `_join` brings a cursor up from the tail and makes the stream live in one
  call, so nothing can be appended in between: no gap, no duplicate, no queue.
- What is older than a tail is asked for (`wake`) and comes by way of a scan.

The edge calls every method from one thread and passes the time in. The hub does no I/O and raises
for no input; its asserts are about its own invariants.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

from gateway.core import frame
from gateway.core.admission import Places
from gateway.core.catch_up import CatchUp
from gateway.core.delivery import Delivery, pieces
from gateway.core.frame import CloseReason, Gap, GapReason
from gateway.core.memory import Memory
from gateway.core.replay import Scan
from gateway.core.stream import Behind, Feed, Stream
from gateway.core.tail import Tail

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.core.interpreter import Interpreter
    from gateway.core.limits import Limits
    from gateway.core.log import Log, Moment, Position, Record, Topic
    from gateway.core.observer import Observer
    from gateway.core.opening import Opening
    from gateway.core.stream import Sink

SPARE_DEADLINES = 1000
"""Deadlines of closed streams that may wait for their time, besides one for each open stream: they
keep the streams in memory, which clients that come and go could fill."""

LOOK_SECONDS = 1.0
"""How often all streams are looked at for silence at most: 9,000 take half a millisecond."""

ASK_SECONDS = 1.0
"""A stream that was written to so lately need not be asked whether its client is there."""


class Hub:
    """All streams of one worker. `wake` is called with each feed that needs a scan or a tail."""

    def __init__(
        self,
        *,
        interpreter: Interpreter,
        limits: Limits,
        tail_bytes: int,
        retry_ms: int,
        heartbeat: float,
        slow: float,
        observer: Observer,
        wake: Callable[[Feed], None],
    ) -> None:
        self.feeds: dict[Log, Feed] = {}
        self.places = Places()
        self.streams = self.places.everyone
        self.memory = Memory(tail_bytes, self.feeds)
        self._interpreter = interpreter
        self._limits = limits
        self._retry = frame.retry(retry_ms)
        self._heartbeat = heartbeat
        self._slow = slow
        self._observer = observer
        self._wake = wake
        self._deadlines: list[tuple[float, int, Stream, CloseReason]] = []
        self._number = count()
        self._next_look = float("-inf")
        self._catch_up = CatchUp(interpreter, limits, observer, wake)
        self.delivered: Callable[[Mapping[Log, Sequence[Record]], Moment], None] | None = None
        """Called with each batch that was dispatched, for whoever looks on."""

    # Logs: what the reader calls.

    def feed(self, log: Log, topic: Topic) -> Feed:
        """Return the feed of a log, made on first need, as one of the topic as it is now."""
        feed = self.feeds.get(log)
        if feed is None:
            feed = self.feeds[log] = Feed(log, topic)
        feed.topic = topic
        return feed

    def forget(self, feed: Feed) -> None:
        """Forget the feed of a log that is gone, and that nobody follows or reads."""
        assert not feed.streams
        assert feed.tail is None
        del self.feeds[feed.log]

    def activate(self, feed: Feed, end: Position, moment: Moment) -> None:
        """Begin to follow a log from its end; records from there on come by `dispatch`."""
        assert feed.tail is None
        feed.tail = Tail(end, keyed=feed.keyed)
        self._unpark(feed, moment)
        if feed.waiting:
            self._wake(feed)

    def deactivate(self, feed: Feed) -> None:
        """Forget a log's tail; streams that are live in it fall behind at its head.

        What was known of the log may not be true of the one that is read next, so every cursor in
        it will be held against that one.
        """
        assert feed.tail is not None
        for stream in [*feed.everyone, *(s for streams in feed.live.values() for s in streams)]:
            self._fall_behind(stream, feed)
            feed.parked[stream] = None
        for stream in self.streams:
            if feed in stream.behind:
                stream.behind[feed].checked = stream.behind[feed].ahead = False
        feed.tail = None
        feed.index.clear()

    def dispatch(self, batches: Mapping[Log, Sequence[Record]], moment: Moment) -> None:
        """Take fetched records, oldest first in each log, and write them to whom they concern."""
        for piece in pieces(batches, self.feeds):
            self._dispatch(piece, moment)
        if self.delivered is not None:
            self.delivered(batches, moment)

    def begin_scan(self, feed: Feed) -> Scan:
        """Return a scan for all streams that wait for one of this log."""
        assert feed.scan is None
        feed.scan = Scan(feed, feed.waiting, self._limits, self._interpreter)
        feed.waiting = {}
        return feed.scan

    def advance(self, streams: Sequence[Stream], moment: Moment) -> None:
        """Bring up streams that a scan has found something for."""
        for stream in streams:
            if not stream.closed:
                self._catch_up.advance(stream, moment)

    def end_scan(self, feed: Feed, moment: Moment) -> None:
        """Take the scan's streams over, complete or not."""
        assert feed.scan is not None
        streams = feed.scan.finish()
        feed.scan = None
        self.advance(streams, moment)
        self.memory.keep()
        if feed.waiting:
            self._wake(feed)

    # Streams: what the connection calls.

    def open(
        self,
        opening: Opening,
        feeds: tuple[Feed, ...],
        sink: Sink,
        deadlines: Sequence[tuple[float, CloseReason]],
        moment: Moment,
    ) -> Stream:
        """Open a stream over `feeds`: its first bytes are written, and it is on its way to live.

        `deadlines` are monotonic times at which it is closed, with the reason.
        """
        stream = Stream(
            opening.user,
            feeds,
            sink,
            categories=opening.categories,
            session=opening.session,
            issued_at=opening.issued_at,
            opened=moment.monotonic,
            address=opening.address,
            number=next(self._number),
        )
        for feed in feeds:
            feed.streams += 1
            stream.behind[feed] = opening.place(feed, feeds, moment)
        self.places.enter(stream)
        if deadlines:
            deadline, reason = min(deadlines)
            heappush(self._deadlines, (deadline, stream.number, stream, reason))
            if len(self._deadlines) > 2 * len(self.streams) + SPARE_DEADLINES:
                self._deadlines = [entry for entry in self._deadlines if not entry[2].closed]
                heapify(self._deadlines)
        self._observer.opened(stream)
        sink.bind(stream)
        greeting = frame.id_block(stream.id())
        if opening.malformed:
            # The first id comes with the gap, or a client that drops between would never be told.
            greeting = frame.gap(stream.id(), Gap(GapReason.INVALID))
            self._observer.gap(GapReason.INVALID)
        self._catch_up.advance(stream, moment, self._retry + greeting)
        return stream

    def follow(
        self,
        stream: Stream,
        feeds: tuple[Feed, ...],
        begin: Mapping[Feed, Behind],
        moment: Moment,
    ) -> None:
        """Let the stream follow `feeds` from now on: where it is, or from where `begin` says.

        What was found for it in a log that it leaves, or begins anew, is not written any more.
        """
        for feed in stream.feeds:
            if feed in begin or feed not in feeds:
                self._leave(stream, feed)
        for feed in begin:
            feed.streams += 1
            stream.behind[feed] = begin[feed]
        stream.feeds = feeds
        if stream.stuck_since is None:
            self._catch_up.advance(stream, moment)

    def stuck(self, stream: Stream, moment: Moment) -> None:
        """Write nothing more to the stream until it has drained: its transport is full."""
        if stream.closed or stream.stuck_since is not None:
            return
        stream.stuck_since = moment.monotonic
        self.places.stuck[stream] = None
        for feed in stream.feeds:
            if feed not in stream.behind:
                self._fall_behind(stream, feed)

    def drained(self, stream: Stream, moment: Moment) -> None:
        """Go on with the stream: its transport has room again."""
        if stream.closed or stream.stuck_since is None:
            return
        stream.stuck_since = None
        del self.places.stuck[stream]
        self._catch_up.advance(stream, moment)

    def close(
        self, stream: Stream, reason: CloseReason, moment: Moment, retry_ms: int | None = None
    ) -> None:
        """Say goodbye and end the stream; one that is closed already stays so."""
        if not stream.closed:
            self._catch_up.write(stream, frame.close(reason, retry_ms), moment)
            stream.sink.close()
            self._observer.closed(stream, reason, moment)
            self._remove(stream)

    def lost(self, stream: Stream, moment: Moment) -> None:
        """Forget a stream whose client has gone."""
        if not stream.closed:
            self._observer.closed(stream, None, moment)
            self._remove(stream)

    def tick(self, moment: Moment) -> None:
        """End what is over, and beat where it is silent; to be called ten times a second.

        Costs next to nothing while no deadline has come; silence is looked for once a second at
        most, and not before somebody can have been silent for long enough.
        """
        now = moment.monotonic
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, stream, reason = heappop(self._deadlines)
            self.close(stream, reason, moment)
        for stream in list(self.places.stuck):
            if stream.stuck_since is not None and now - stream.stuck_since >= self._slow:
                self.close(stream, CloseReason.SLOW, moment)
        if now < self._next_look:
            return
        self._next_look = now + LOOK_SECONDS
        oldest = min([stream.written for stream in self.streams], default=now)
        silent_since = now - self._heartbeat
        if oldest <= silent_since:
            self._beat([s for s in self.streams if s.written <= silent_since], moment)
        else:  # nobody can be silent for long enough before that one is
            self._next_look = max(self._next_look, oldest + self._heartbeat)

    def ask(self, user: bytes, moment: Moment) -> None:
        """Beat in the user's streams, so that it shows whose client is still there."""
        now = moment.monotonic
        streams = self.places.user(user)
        self._beat([s for s in streams if now - s.written >= ASK_SECONDS], moment)

    # Inside.

    def _dispatch(self, batches: Mapping[Log, Sequence[Record]], moment: Moment) -> None:
        delivery = Delivery(self._interpreter)
        for log, records in batches.items():
            feed = self.feeds[log]
            if feed.tail is not None:
                fresh = feed.tail.append(records)
                if feed.keyed:
                    self._interpreter.check_keys(feed, records, fresh)
                delivery.add(feed, records)
        delivery.write(self._observer, moment)
        for log in batches:
            feed = self.feeds[log]
            if feed.parked and feed.tail is not None:
                self._unpark(feed, moment)
        self.memory.keep()

    def _beat(self, streams: Sequence[Stream], moment: Moment) -> None:
        frames: dict[tuple[Feed, ...], bytes] = {}
        for stream in streams:
            if stream.stuck_since is not None:
                continue
            if stream.behind:
                beat = frame.heartbeat(stream.id())
            else:
                cached = frames.get(stream.feeds)
                if cached is None:
                    cached = frames[stream.feeds] = frame.heartbeat(stream.id())
                beat = cached
            self._catch_up.write(stream, beat, moment)

    def _fall_behind(self, stream: Stream, feed: Feed) -> None:
        assert feed.tail is not None
        feed.leave(stream)
        stream.behind[feed] = Behind(feed.tail.head, checked=True)

    def _unpark(self, feed: Feed, moment: Moment) -> None:
        parked, feed.parked = feed.parked, {}
        for stream in parked:
            if stream.stuck_since is None:
                self._catch_up.advance(stream, moment)

    def _remove(self, stream: Stream) -> None:
        for feed in stream.feeds:
            self._leave(stream, feed)
        self.places.leave(stream)
        stream.closed = True

    def _leave(self, stream: Stream, feed: Feed) -> None:
        """Forget the stream in one of its logs, wherever it is there."""
        feed.streams -= 1
        if stream.behind.pop(feed, None) is None:
            feed.leave(stream)
        feed.parked.pop(stream, None)
        feed.waiting.pop(stream, None)
        if feed.scan is not None and stream in feed.scan.seekers:
            feed.scan.leave(stream)
