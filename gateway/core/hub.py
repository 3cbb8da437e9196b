"""The hub: every stream of a worker, every log that they follow, and what moves between them.

Its rules:

- `dispatch` takes a fetched batch whole: each record goes to its tail, each event is framed once,
  and each stream that is touched gets one write with everything for it.
- The hub never waits for a client. `stuck` makes a stream behind in all its logs, where it costs
  nothing; `drained` brings it up again, from where it was.
- Joining is one step: the last that a tail has for a stream is written and the stream made live in
  one call, so nothing can be appended in between: no gap, no duplicate, no queue.
- What is older than a tail is asked for (`wake`) and comes by way of a scan.
- A step is bounded: what concerns thousands of streams is queued, and `step` does a part of it.
  Live events and heartbeats come first in each step, and nothing is left out of any for long.
- An unexpected exception costs the stream or the record that it came from: `contain`.

The edge calls every method from one thread and passes the time in. It calls `step` for as long as
that returns True, and lets the event loop go in between; `busy` tells when to begin. The hub does
no I/O and raises for no input; its asserts are about its own invariants.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from gateway.core import frame
from gateway.core.admission import OpenStreams
from gateway.core.budget import CLOSE, EVENT, SHARE, Budget
from gateway.core.catch_up import CatchUp
from gateway.core.delivery import Outbox, pieces
from gateway.core.gap import CloseReason, Gap, GapReason
from gateway.core.memory import Memory
from gateway.core.scan import Scan
from gateway.core.stream import PartitionFeed, Stream
from gateway.core.tail import Tail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.core.containment import Contain
    from gateway.core.interpreter import Interpreter
    from gateway.core.limits import Limits
    from gateway.core.observer import Observer
    from gateway.core.records import Moment, OffsetPosition, Record, Topic, TopicPartition
    from gateway.core.request import StreamRequest
    from gateway.core.stream import CatchUpState, Sink

SPARE_DEADLINES = 1000
"""Deadlines of closed streams that may wait for their time, besides one for each open stream: they
keep the streams in memory, which clients that come and go could fill."""

SILENCE_CHECK_SECONDS = 1.0
"""How often all streams are looked at for silence at most: 9,000 take half a millisecond."""

PROBE_SECONDS = 1.0
"""A stream that was written to so lately need not be asked whether its client is there."""


class Hub:
    """All streams of one worker.

    `wake` is called with each feed that needs a scan, `busy` when there is something for `step`.
    `contain` makes a block in which an unexpected exception ends, reported.
    """

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
        wake: Callable[[PartitionFeed], None],
        busy: Callable[[], None],
        contain: Contain,
    ) -> None:
        self.feeds: dict[TopicPartition, PartitionFeed] = {}
        self.scans: dict[PartitionFeed, Scan] = {}
        """The scans that run, one at a time for each log."""
        self.open_streams = OpenStreams()
        self.streams = self.open_streams.streams
        self.memory = Memory(tail_bytes, self.feeds)
        self._interpreter = interpreter
        self._limits = limits
        self._retry = frame.retry(retry_ms)
        self._heartbeat = heartbeat
        self._slow = slow
        self._observer = observer
        self._wake = wake
        self._busy = busy
        self._contain = contain
        self._deadlines: list[tuple[float, int, Stream, CloseReason]] = []
        self._number = count()
        self._next_check = float("-inf")
        self._outbox = Outbox(interpreter, observer, contain)
        self._catch_up = CatchUp(interpreter, limits, observer, self._outbox, wake)
        self._arrived: deque[_Arrival] = deque()
        """Fetched records that are not in their tails yet."""
        self._spare = Budget()
        """For streams that are opened or have drained, until the next step."""
        self._ready: dict[Stream, None] = {}
        """Streams to be brought up, in the order they came."""
        self._silent: dict[Stream, float] = {}
        """Streams to be sent a heartbeat, unless they were written to since that time."""
        self._closing: dict[Stream, tuple[CloseReason, int | None]] = {}
        """Streams to be closed, with the reason and `retry`."""
        self.delivered: (
            Callable[[Mapping[TopicPartition, Sequence[Record]], Moment], None] | None
        ) = None
        """Called with each batch that was dispatched, for whoever looks on."""

    # Logs: what the reader calls.

    def feed(self, log: TopicPartition, topic: Topic) -> PartitionFeed:
        """Return the feed of a log, made on first need, as one of the topic as it is now."""
        feed = self.feeds.get(log)
        if feed is None:
            feed = self.feeds[log] = PartitionFeed(log, topic)
        feed.topic = topic
        return feed

    def discard(self, feed: PartitionFeed) -> None:
        """Forget the feed of a log that is gone, and that nobody follows or reads."""
        assert not feed.streams
        assert feed.tail is None
        del self.feeds[feed.log]

    def activate(self, feed: PartitionFeed, end: OffsetPosition, moment: Moment) -> None:
        """Begin to follow a log from its end; records from there on come by `dispatch`."""
        assert feed.tail is None
        feed.tail = Tail(end, keyed=feed.keyed)
        for stream in feed.parked:
            if stream.catching_up[feed].until is None:
                stream.catching_up[feed].until = end.offset
        self._unpark(feed)
        if feed.waiting:
            self._wake(feed)
        self._work(moment)

    def deactivate(self, feed: PartitionFeed) -> None:
        """Forget a log's tail; streams that are live in it fall behind at its head.

        What was known of the log may not be true of the one that is read next, so every cursor in
        it will be held against that one.
        """
        assert feed.tail is not None
        for stream in [
            *feed.live_unkeyed,
            *(s for streams in feed.live_by_key.values() for s in streams),
        ]:
            feed.fall_behind(stream)
            feed.park(stream)
        for stream in self.streams:
            if feed in stream.catching_up:
                stream.catching_up[feed].checked = stream.catching_up[feed].ahead = False
        feed.tail = None
        feed.index.clear()

    def dispatch(self, batches: Mapping[TopicPartition, Sequence[Record]], moment: Moment) -> None:
        """Take fetched records, oldest first in each log, and write them to whom they concern.

        More than one step has room for is taken later, by `step`, and then no more should be
        fetched: see `delivering`.
        """
        tails = {log: self.feeds[log].tail for log in batches}
        self._arrived.extend(_Arrival(piece, tails, None) for piece in pieces(batches, self.feeds))
        self._arrived[-1] = self._arrived[-1]._replace(whole=batches)
        self._work(moment)

    @property
    def delivering(self) -> bool:
        """Whether something that was dispatched is still on its way to live streams."""
        return bool(self._arrived or self._outbox)

    def begin_scan(self, feed: PartitionFeed) -> Scan:
        """Return a scan for all streams that wait for one of this log, which has none yet."""
        if feed in self.scans:
            raise ValueError("a log has one scan at a time")
        scan = self.scans[feed] = Scan(feed, feed.waiting, self._limits, self._interpreter)
        feed.waiting = {}
        return scan

    def advance(self, streams: Iterable[Stream], moment: Moment) -> None:
        """Bring up streams that a scan has found something for."""
        self._queue(streams)
        self._work(moment)

    def end_scan(self, feed: PartitionFeed, moment: Moment) -> None:
        """Take the scan's streams over, complete or not."""
        self._queue(self.scans.pop(feed).finish())
        self.memory.enforce()
        if feed.waiting:
            self._wake(feed)
        self._work(moment)

    # Streams: what the connection calls.

    def open(
        self,
        request: StreamRequest,
        feeds: tuple[PartitionFeed, ...],
        sink: Sink,
        deadlines: Sequence[tuple[float, CloseReason]],
        moment: Moment,
    ) -> Stream:
        """Open a stream over `feeds`: its first bytes are written, and it is on its way to live.

        `deadlines` are monotonic times at which it is closed, with the reason.
        """
        stream = Stream(
            request.user,
            feeds,
            sink,
            categories=request.categories,
            session=request.session,
            issued_at=request.issued_at,
            opened=moment.monotonic,
            address=request.address,
            number=next(self._number),
        )
        for feed in feeds:
            feed.streams += 1
            stream.catching_up[feed] = request.start(feed, feeds, moment)
        self.open_streams.add(stream)
        if deadlines:
            deadline, reason = min(deadlines)
            heappush(self._deadlines, (deadline, stream.number, stream, reason))
            if len(self._deadlines) > 2 * len(self.streams) + SPARE_DEADLINES:
                self._deadlines = [entry for entry in self._deadlines if not entry[2].closed]
                heapify(self._deadlines)
        self._observer.opened(stream)
        sink.bind(stream)
        greeting = frame.id_block(stream.id())
        if request.malformed:
            # The first id comes with the gap, or a client that drops between would never be told.
            greeting = frame.gap(stream.id(), Gap(GapReason.INVALID))
            self._observer.gap(GapReason.INVALID)
        self._advance_at_once(stream, moment, self._retry + greeting)
        return stream

    def follow(
        self,
        stream: Stream,
        feeds: tuple[PartitionFeed, ...],
        begin: Mapping[PartitionFeed, CatchUpState],
        moment: Moment,
    ) -> None:
        """Let the stream follow `feeds` from now on: where it is, or from where `begin` says.

        What was found for it in a log that it leaves, or begins anew, is not written any more.
        """
        for feed in stream.feeds:
            if feed in begin or feed not in feeds:
                self._remove_from(stream, feed)
        for feed in begin:
            feed.streams += 1
            stream.catching_up[feed] = begin[feed]
        stream.feeds = feeds
        self.advance([stream], moment)

    def stuck(self, stream: Stream, moment: Moment) -> None:
        """Write nothing more to the stream until it has drained: its transport is full."""
        if stream.closed or stream.stuck_since is not None:
            return
        stream.stuck_since = moment.monotonic
        self.open_streams.stuck[stream] = None
        for feed in stream.feeds:
            if feed not in stream.catching_up:
                feed.fall_behind(stream)
        self._outbox.send(stream, moment)  # its cursor is behind that

    def drained(self, stream: Stream, moment: Moment) -> None:
        """Go on with the stream: its transport has room again."""
        if stream.closed or stream.stuck_since is None:
            return
        stream.stuck_since = None
        del self.open_streams.stuck[stream]
        self._advance_at_once(stream, moment)

    def close(
        self, stream: Stream, reason: CloseReason, moment: Moment, retry_ms: int | None = None
    ) -> None:
        """Say goodbye and end the stream; one that is closed already stays so."""
        if stream.closed:
            return
        with self._contain():
            self._outbox.write(stream, frame.close(reason, retry_ms), moment)
        self._end(stream, reason, moment)

    def close_all(
        self,
        streams: Iterable[Stream],
        reason: CloseReason,
        moment: Moment,
        retry_ms: int | None = None,
    ) -> None:
        """Close streams, in as many steps as that takes."""
        for stream in streams:
            self._closing.setdefault(stream, (reason, retry_ms))
        self._work(moment)

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
        for stream in self.open_streams.stuck:  # the one that is stuck for longest first
            if stream.stuck_since is None or now - stream.stuck_since < self._slow:
                break
            self._closing.setdefault(stream, (CloseReason.SLOW, None))
        if now >= self._next_check:
            self._catch_up.runs.drop()
            self._next_check = now + SILENCE_CHECK_SECONDS
            oldest = min([stream.written for stream in self.streams], default=now)
            silent_since = now - self._heartbeat
            if oldest <= silent_since:
                silent = {s: s.written for s in self.streams if s.written <= silent_since}
                self._silent.update(silent)
            else:  # nobody can be silent for long enough before that one is
                self._next_check = max(self._next_check, oldest + self._heartbeat)
        self._work(moment)

    def probe(self, user: bytes, moment: Moment) -> None:
        """Beat in the user's streams, so that it shows whose client is still there."""
        now = moment.monotonic
        streams = self.open_streams.user(user)
        self._silent.update({s: s.written for s in streams if now - s.written >= PROBE_SECONDS})
        self._work(moment)

    # What is done in steps.

    def step(self, moment: Moment) -> bool:
        """Do the next part of what is to be done; return whether there is more.

        Live events come first, then heartbeats. Of everything else some is done in each step.
        """
        budget = Budget()
        self._deliver(budget, moment)
        budget.guarantee(SHARE)
        self._beat(budget, moment)
        budget.guarantee(SHARE)
        self._close_due(budget, moment)
        budget.guarantee(SHARE)
        self._advance_ready(budget, moment)
        self._catch_up.report(moment)
        self._spare = Budget()
        return self._has_work(moment)

    def _work(self, moment: Moment) -> None:
        """Do one step at once, and have the edge do the others."""
        if self.step(moment):
            self._busy()

    def _advance_at_once(self, stream: Stream, moment: Moment, greeting: bytes = b"") -> None:
        """Bring a stream up now, as far as goes for all that come between two steps together.

        A thousand that come in one turn of the event loop get their first bytes, and are queued.
        """
        self._spare.guarantee(1)
        self._advance(stream, moment, self._spare, greeting)
        self._catch_up.report(moment)
        if self._ready:
            self._busy()

    def _has_work(self, moment: Moment) -> bool:
        due = bool(self._deadlines) and self._deadlines[0][0] <= moment.monotonic
        return bool(self.delivering or self._ready or self._silent or self._closing or due)

    def _beat(self, budget: Budget, moment: Moment) -> None:
        beats: dict[tuple[PartitionFeed, ...], bytes] = {}
        while self._silent and budget.left > 0:
            stream, written = self._silent.popitem()
            if stream.stuck_since is not None or stream.written != written:
                continue
            beat = None if stream.catching_up else beats.get(stream.feeds)
            if beat is None:
                beat = frame.heartbeat(stream.id())
                if not stream.catching_up:
                    beats[stream.feeds] = beat
            budget.written(len(beat))
            with self._contain() as contained:
                self._outbox.write(stream, beat, moment)
            if contained.failed:
                self._end(stream, None, moment)

    def _deliver(self, budget: Budget, moment: Moment) -> None:
        self._flush(budget, moment)
        while self._arrived and not self._outbox and budget.left > 0:
            piece, tails, whole = self._arrived.popleft()
            for log, records in piece.items():
                feed = self.feeds.get(log)
                if feed is None or feed.tail is None or feed.tail is not tails[log]:
                    continue
                with self._contain() as contained:
                    self._append(feed, feed.tail, records, budget)
                if contained.failed:
                    self._abandon(feed, moment)
            self.memory.enforce()
            self._flush(budget, moment)
            if whole is not None and self.delivered is not None:
                with self._contain():
                    self.delivered(whole, moment)

    def _append(
        self, feed: PartitionFeed, tail: Tail, records: Sequence[Record], budget: Budget
    ) -> None:
        """Add records to a log's tail, and their events to what is on its way."""
        if not feed.keyed:
            # The ids of those who are behind elsewhere are their own: each is brought up by itself.
            for stream in [stream for stream in feed.live_unkeyed if stream.catching_up]:
                feed.fall_behind(stream)
                self._ready[stream] = None
        records, fresh = tail.append(records)
        if feed.keyed:
            self._interpreter.check_keys(feed, records, fresh)
        budget.left -= len(records) + EVENT * self._outbox.add(feed, records)
        if feed.parked:
            self._unpark(feed)

    def _flush(self, budget: Budget, moment: Moment) -> None:
        self._outbox.flush(budget, moment)
        while self._outbox.failed:
            self._end(self._outbox.failed.pop(), None, moment)

    def _close_due(self, budget: Budget, moment: Moment) -> None:
        deadlines = self._deadlines
        while budget.left > 0:
            if self._closing:
                stream = next(iter(self._closing))
                reason, retry_ms = self._closing.pop(stream)
                self.close(stream, reason, moment, retry_ms)
            elif deadlines and deadlines[0][0] <= moment.monotonic:
                _, _, stream, reason = heappop(deadlines)
                self.close(stream, reason, moment)
            else:
                return
            budget.left -= CLOSE

    def _advance_ready(self, budget: Budget, moment: Moment) -> None:
        while self._ready and budget.left > 0:
            stream = next(iter(self._ready))
            del self._ready[stream]
            self._advance(stream, moment, budget)

    def _advance(
        self, stream: Stream, moment: Moment, budget: Budget, greeting: bytes = b""
    ) -> None:
        """Bring a stream up; queue it where that is more than the budget has room for."""
        if stream.closed or stream.stuck_since is not None:
            return
        budget.left -= 1
        done = True
        with self._contain() as contained:
            done = self._catch_up.advance(stream, moment, budget, greeting)
        if contained.failed:
            self._end(stream, None, moment)
        elif not done:
            self._ready[stream] = None

    def _queue(self, streams: Iterable[Stream]) -> None:
        self._ready.update(dict.fromkeys(streams))

    def _unpark(self, feed: PartitionFeed) -> None:
        parked, feed.parked = feed.parked, {}
        self._queue(parked)

    def _abandon(self, feed: PartitionFeed, moment: Moment) -> None:
        """End the streams that are live in a log of which a batch has failed.

        At the tail's head they would have missed it; their clients come back with their cursors.
        """
        for stream in [
            *feed.live_unkeyed,
            *(s for streams in feed.live_by_key.values() for s in streams),
        ]:
            self._end(stream, None, moment)

    # The end of a stream.

    def _end(self, stream: Stream, reason: CloseReason | None, moment: Moment) -> None:
        """End a stream of ours: its goodbye is written, or its sink has failed (None)."""
        if not stream.closed:
            with self._contain():
                stream.sink.close()
            self._observer.closed(stream, reason, moment)
            self._remove(stream)

    def _remove(self, stream: Stream) -> None:
        stream.closed = True
        self._outbox.drop(stream)
        for queue in (self._ready, self._silent, self._closing):
            queue.pop(stream, None)
        for feed in stream.feeds:
            self._remove_from(stream, feed)
        self.open_streams.remove(stream)

    def _remove_from(self, stream: Stream, feed: PartitionFeed) -> None:
        """Forget the stream in one of its logs, wherever it is there."""
        feed.remove(stream)
        scan = self.scans.get(feed)
        if scan is not None and stream in scan.seekers:
            scan.remove(stream)


class _Arrival(NamedTuple):
    """A piece of a batch, the tails that it is for, and the batch if this is its last piece."""

    piece: Mapping[TopicPartition, Sequence[Record]]
    tails: Mapping[TopicPartition, Tail | None]
    whole: Mapping[TopicPartition, Sequence[Record]] | None
