"""Hub: all streams of a worker, the partitions they follow, and the delivery.

Rules:

- `dispatch` appends each record of a fetched batch to its tail, frames each event once, and makes
  one write to each stream for the whole batch.
- The hub never waits for a client. `stuck` makes a stream behind in all its partitions, at no cost;
  `drained` lets it catch up from its position.
- A stream becomes live in one step: one call writes the last events of a tail and makes the stream
  live, so that no record can be appended in between. No gap, no duplicate, no queue.
- Records older than a tail are requested by `wake` and delivered by a scan.
- A step is bounded: work for thousands of streams is queued, and each `step` does a part of it.
  Live events and heartbeats come first, and every step does some of the other work.
- An unexpected exception costs the stream or the record that caused it: `contain`.

The edge calls every method from one thread and passes in the time. It repeats `step` while that
returns True and yields to the event loop in between; `busy` tells the edge to start. The hub does
no I/O and raises for no input; its assertions check its own invariants.
"""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import TYPE_CHECKING

from gateway.core import frame
from gateway.core.admission import OpenStreams
from gateway.core.budget import (
    CLOSE,
    EVENT,
    HAND_OVER,
    PARK,
    PIECE,
    RECORDS,
    SHARE,
    Budget,
)
from gateway.core.catch_up import CatchUp
from gateway.core.deadlines import Deadlines
from gateway.core.delivery import Outbox, addressees, pieces
from gateway.core.event_id import Version
from gateway.core.feed import PartitionFeed
from gateway.core.gap import CloseReason, Gap, GapReason
from gateway.core.heartbeats import Heartbeats
from gateway.core.memory import Memory
from gateway.core.reconnect import usual_delay
from gateway.core.scan import Scan
from gateway.core.stream import Stream
from gateway.core.tail import Tail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from gateway.core.catch_up_state import CatchUpState
    from gateway.core.containment import Contain
    from gateway.core.interpreter import Interpreter
    from gateway.core.limits import Limits
    from gateway.core.observer import Observer
    from gateway.core.records import Moment, OffsetPosition, Record, Topic, TopicPartition
    from gateway.core.request import StreamRequest
    from gateway.core.stream import Sink


class Hub:
    """All streams of one worker.

    Calls `wake` with each feed that needs a scan, and `busy` when `step` has work. `contain`
    returns a block that reports and suppresses an unexpected exception. `heartbeat` and `slow` are
    seconds. `id_version` is the version of the event ids that are written.
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
        id_version: Version = Version.ONE,
    ) -> None:
        self._id_version = id_version
        self._version = id_version.encode()
        self.feeds: dict[TopicPartition, PartitionFeed] = {}
        self.scans: dict[PartitionFeed, Scan] = {}
        """Scans, at most one for each partition: running, or with streams to hand over."""
        self.open_streams = OpenStreams()
        self.streams = self.open_streams.streams
        self.memory = Memory(tail_bytes, self.feeds)
        self._interpreter = interpreter
        self._limits = limits
        self._retry_ms = retry_ms
        self._slow = slow
        self._observer = observer
        self._wake = wake
        self._busy = busy
        self._contain = contain
        self._deadlines = Deadlines()
        self._number = count()

        self._outbox = Outbox(interpreter, observer, contain)
        self._heartbeats = Heartbeats(heartbeat, self.streams, self._outbox, contain)
        self._catch_up = CatchUp(interpreter, limits, observer, self._outbox, wake)
        self._arrived: deque[_Arrival] = deque()
        """Fetched records that are not yet in their tails."""
        self._spare = Budget()
        """Budget for streams that open or drain before the next step."""
        self._ready: dict[Stream, None] = {}
        """Streams to advance, in order of arrival."""
        self._leaving: dict[PartitionFeed, Iterator[Stream]] = {}
        """Partitions without a tail, each with the streams whose state has to be reset."""
        self._ending: dict[PartitionFeed, Scan] = {}
        """Scans that have ended, with streams to hand over."""
        self._discarded: deque[Tail] = deque()
        """Tails to be freed."""
        self._closing: dict[Stream, tuple[CloseReason, int | None]] = {}
        """Streams to close, with the reason and `retry` in ms."""
        self._stirred = self._resting = False
        """Whether something has happened since the last `is_quiet`, and whether that was true."""
        self.delivered: (
            Callable[[Mapping[TopicPartition, Sequence[Record]], Moment], None] | None
        ) = None
        """Optional observer, called with each dispatched batch after its delivery."""

    # Partitions: called by the reader.

    def feed(self, log: TopicPartition, topic: Topic) -> PartitionFeed:
        """Return the feed of a partition, created on first use, with its topic updated.

        The feed of another incarnation has to be discarded first.
        """
        feed = self.feeds.get(log)
        if feed is None:
            feed = self.feeds[log] = PartitionFeed(log, topic, self._id_version)
        feed.renew(topic)
        return feed

    def discard(self, feed: PartitionFeed) -> None:
        """Remove the feed of a deleted partition, which must not be read any more.

        Streams that follow it keep their positions in it until they follow other feeds.
        """
        assert feed.tail is None
        self._leaving.pop(feed, None)
        del self.feeds[feed.log]

    def activate(self, feed: PartitionFeed, end: OffsetPosition, moment: Moment) -> None:
        """Create the partition's tail at `end`; later records arrive by `dispatch`."""
        assert feed.tail is None
        self._leave(feed)
        feed.tail = Tail(end, keyed=feed.keyed)
        feed.former_head = None
        for stream in feed.parked:
            state = stream.catching_up.get(feed)
            if state is not None and state.until is None:
                state.until = end.offset
        self._unpark(feed)
        if feed.waiting:
            self._wake(feed)
        self._work(moment)

    def deactivate(self, feed: PartitionFeed) -> None:
        """Remove the partition's tail; its live streams are behind at the former head.

        The partition may be another incarnation when it is read again, so every position in it has
        to be verified again. Costs nothing: `step` moves the streams, and `activate` the rest.
        """
        assert feed.tail is not None
        feed.former_head = feed.tail.head
        self._discarded.append(feed.tail)
        feed.tail = None
        feed.index.clear()
        self._leaving[feed] = iter(list(self.streams))
        self._busy()

    def dispatch(self, batches: Mapping[TopicPartition, Sequence[Record]], moment: Moment) -> None:
        """Deliver fetched records, in offset order for each partition, to live streams.

        Records beyond the budget of one step are delivered by `step`; until then the caller should
        not fetch more: see `delivering`.
        """
        feeds = self.feeds
        for piece in pieces(batches, feeds):
            addressed = [(feeds[log], feeds[log].tail, piece[log]) for log in piece]
            self._arrived.append(_Arrival(addressed))
        self._arrived[-1].whole = batches
        self._work(moment)

    @property
    def delivering(self) -> bool:
        """Whether dispatched records are not yet written to all live streams."""
        return bool(self._arrived or self._outbox)

    def begin_scan(self, feed: PartitionFeed) -> Scan:
        """Return a scan for all streams that wait for one of this partition.

        Raises `ValueError` if the partition has a running scan or no tail.
        """
        if feed in self.scans:
            raise ValueError("a partition has one scan at a time")
        scan = Scan(feed, feed.waiting, self._limits, self._interpreter, self._contain)
        self.scans[feed] = scan
        feed.waiting = {}
        return scan

    def advance(self, streams: Iterable[Stream], moment: Moment) -> None:
        """Advance streams, such as those for which a scan has found events."""
        self._queue(streams)
        self._work(moment)

    def end_scan(self, feed: PartitionFeed, moment: Moment) -> None:
        """End the scan, complete or not; `step` hands its streams over and then removes it."""
        self._ending[feed] = self.scans[feed]
        self._work(moment)

    # Streams: called by the connection.

    def open(
        self,
        request: StreamRequest,
        feeds: tuple[PartitionFeed, ...],
        sink: Sink,
        deadlines: Sequence[tuple[float, CloseReason]],
        moment: Moment,
    ) -> Stream:
        """Open a stream over `feeds`, write its first bytes, and advance it.

        `deadlines` are times (monotonic seconds) at which to close the stream, with the reason.
        """
        stream = Stream(
            request.user,
            feeds,
            sink,
            filter=request.filter,
            session=request.session,
            issued_at=request.issued_at,
            opened=moment.monotonic,
            address=request.address,
            number=next(self._number),
            version=self._version,
            groups=request.groups,
        )
        states = request.start(feeds, moment)
        for feed, state in zip(feeds, states, strict=True):
            feed.streams += 1
            if feed.tail is not None and state.position == feed.tail.head:
                feed.join(stream)  # nothing to catch up: new streams, and quiet partitions
            else:
                stream.catching_up[feed] = state
        self.open_streams.add(stream)
        self._observer.opened(stream)
        greeting = b""
        with self._contain() as contained:
            self._deadlines.add(stream, deadlines, len(self.streams))
            sink.bind(stream)
            greeting = frame.id_block(stream.id())
            if request.malformed:
                # The first id comes with the gap; a client that disconnects in between would miss
                # the gap.
                greeting = frame.gap(stream.id(), Gap(GapReason.INVALID))
                self._observer.gap(GapReason.INVALID)
        if contained.failed:
            self._end(stream, None, moment)
        retry = frame.retry(usual_delay(self._retry_ms, stream.number))
        self._advance_at_once(stream, moment, retry + greeting)
        return stream

    def follow(
        self,
        stream: Stream,
        feeds: tuple[PartitionFeed, ...],
        begin: Mapping[PartitionFeed, CatchUpState],
    ) -> None:
        """Let the stream follow `feeds`: from its positions, or for new ones the states in `begin`.

        Discards its backlog in partitions that are removed. The caller has to advance the stream.
        """
        for feed in stream.feeds:
            if feed not in feeds:
                self._remove_from(stream, feed)
        for feed in begin:
            feed.streams += 1
            stream.catching_up[feed] = begin[feed]
        stream.feeds = feeds

    def stuck(self, stream: Stream, moment: Moment) -> None:
        """Stop writing to the stream, whose transport is full, until `drained`."""
        if stream.closed or stream.stuck_since is not None:
            return
        stream.stuck_since = moment.monotonic
        self.open_streams.stuck[stream] = None
        for feed in stream.feeds:
            if feed not in stream.catching_up:
                feed.fall_behind(stream)
        with self._contain() as contained:
            self._outbox.send(stream, moment)  # its cursor is after these bytes
        if contained.failed:
            self._end(stream, None, moment)

    def drained(self, stream: Stream, moment: Moment) -> None:
        """Resume writing to the stream: its transport has drained."""
        if stream.closed or stream.stuck_since is None:
            return
        stream.stuck_since = None
        del self.open_streams.stuck[stream]
        self._advance_at_once(stream, moment)

    def close(
        self, stream: Stream, reason: CloseReason, moment: Moment, retry_ms: int | None = None
    ) -> None:
        """Write `stream.close` and end the stream; no effect on a closed stream."""
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
        """Close streams, in as many steps as required."""
        for stream in streams:
            self._closing.setdefault(stream, (reason, retry_ms))
        self._work(moment)

    def lost(self, stream: Stream, moment: Moment) -> None:
        """Remove a stream whose client has disconnected."""
        if not stream.closed:
            self._observer.closed(stream, None, moment)
            self._remove(stream)

    def tick(self, moment: Moment) -> None:
        """Close expired and slow streams, and send heartbeats; call five times a second.

        Cheap while no deadline is due; silent streams are searched at most once a second.
        """
        now = moment.monotonic
        for stream in self.open_streams.stuck:  # the longest stuck first
            if stream.stuck_since is None or now - stream.stuck_since < self._slow:
                break
            self._closing.setdefault(stream, (CloseReason.SLOW, None))
        if self._heartbeats.check(now):
            self._catch_up.runs.drop()
        if self.step(moment):
            self._busy()

    def is_quiet(self, moment: Moment, seconds: float) -> bool:
        """Return whether `tick` has nothing to do for some seconds unless something happens.

        That is the case if nothing has happened since the last call and no deadline, slow stream or
        heartbeat is due until then. Whatever happens next calls `busy`.
        """
        until = moment.monotonic + seconds
        self._resting = not (
            self._stirred
            or self.delivering
            or self._has_other_work(moment)
            or self.open_streams.stuck
            or self._deadlines.is_due(until)
            or self._heartbeats.next_check <= until
        )
        self._stirred = False
        return self._resting

    def probe(self, user: bytes, moment: Moment) -> None:
        """Send heartbeats to the user's streams, to detect clients that have gone."""
        self._heartbeats.probe(self.open_streams.user(user), moment.monotonic)
        self._work(moment)

    # Work done in steps.

    def step(self, moment: Moment) -> bool:
        """Do a bounded part of the queued work; return whether more is queued.

        Live events come first, then heartbeats. Each step does some of all other work.
        """
        budget = Budget()
        self._deliver(budget, moment)
        if self.scans or self._has_other_work(moment):
            budget.guarantee(SHARE)
            for stream in self._heartbeats.send(budget, moment):
                self._end(stream, None, moment)
            budget.guarantee(SHARE)
            self._close_due(budget, moment)
            budget.guarantee(SHARE)
            self._leave_some(budget, moment)
            budget.guarantee(SHARE)
            self._end_scans(budget, moment)
            budget.guarantee(SHARE)
            self._advance_ready(budget, moment)
            budget.guarantee(1)
            self._free(budget)
        self._catch_up.report(moment)
        self._spare = Budget()
        return self.delivering or self._has_other_work(moment)

    def _work(self, moment: Moment) -> None:
        """Do one step now, and request further steps from the edge if needed."""
        self._stir()
        if self.step(moment):
            self._busy()

    def _stir(self) -> None:
        self._stirred = True
        if self._resting:
            self._resting = False
            self._busy()

    def _advance_at_once(self, stream: Stream, moment: Moment, greeting: bytes = b"") -> None:
        """Advance a stream now, within a budget shared by all calls between two steps.

        Of a thousand streams opened in one turn of the event loop, each gets its first bytes; the
        rest of the work is queued.
        """
        self._stir()
        self._spare.guarantee(1)
        self._advance(stream, moment, self._spare, greeting)
        if self._ready:
            self._busy()

    def _has_other_work(self, moment: Moment) -> bool:
        """Return whether there is work besides live events."""
        return bool(
            self._ready
            or self._heartbeats
            or self._closing
            or self._leaving
            or self._ending
            or self._discarded
            or self._deadlines.is_due(moment.monotonic)
        )

    def _deliver(self, budget: Budget, moment: Moment) -> None:
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
        self._enforce(size)

    def _append(
        self, feed: PartitionFeed, tail: Tail, records: Sequence[Record], budget: Budget
    ) -> None:
        """Append records to a tail, and their events to the outbox."""
        if feed.shared:
            # The ids of a stream that is behind elsewhere differ, so it catches up separately.
            addressed = addressees(feed, records)
            for stream in [stream for stream in addressed if stream.catching_up]:
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
        self._end_failed(moment)

    def _end_failed(self, moment: Moment) -> None:
        while self._outbox.failed:
            self._end(self._outbox.failed.pop(), None, moment)

    def _close_due(self, budget: Budget, moment: Moment) -> None:
        while budget.left > 0:
            if self._closing:
                stream = next(iter(self._closing))
                reason, retry_ms = self._closing.pop(stream)
                self.close(stream, reason, moment, retry_ms)
            elif self._deadlines.is_due(moment.monotonic):
                stream, reason = self._deadlines.pop()
                self.close(stream, reason, moment)
            else:
                return
            budget.left -= CLOSE

    def _leave_some(self, budget: Budget, moment: Moment) -> None:
        while self._leaving and budget.left > 0:
            self._leave(next(iter(self._leaving)), budget)
        self._end_failed(moment)

    def _leave(self, feed: PartitionFeed, budget: Budget | None = None) -> None:
        """Make streams of a partition without a tail behind; within a budget, or all of them."""
        for stream in self._leaving.get(feed, ()):
            if not stream.closed and feed in stream.feeds:
                with self._contain() as contained:
                    if feed not in stream.catching_up:
                        feed.fall_behind(stream)
                        feed.park(stream)
                    state = stream.catching_up[feed]
                    state.checked = state.ahead = False
                if contained.failed:
                    self._outbox.failed.append(stream)
            if budget is not None:
                budget.left -= PARK
                if budget.left <= 0:
                    return
        self._leaving.pop(feed, None)

    def _end_scans(self, budget: Budget, moment: Moment) -> None:
        """Close streams that a scan cannot serve, and hand over those of ended scans."""
        for scan in list(self.scans.values()):
            while scan.failed:
                self._end(scan.failed.pop(), None, moment)
        while self._ending and budget.left > 0:
            feed, scan = next(iter(self._ending.items()))
            streams = scan.finish(max(1, budget.left // HAND_OVER))
            budget.left -= HAND_OVER * len(streams)
            self._queue(streams)
            while scan.failed:
                self._end(scan.failed.pop(), None, moment)
            while not scan.seekers and not scan.finished and budget.left > 0:
                budget.left -= scan.warm_tail(PIECE) // RECORDS + 1
                self._enforce()
            if scan.finished:
                del self._ending[feed], self.scans[feed]
                if feed.waiting:
                    self._wake(feed)

    def _free(self, budget: Budget) -> None:
        """Free discarded tails: a hundred thousand records at once would take too long."""
        while self._discarded and budget.left > 0:
            budget.left -= PIECE // RECORDS
            if not self._discarded[0].discard(PIECE):
                self._discarded.popleft()

    def _enforce(self, added: int | None = None) -> None:
        with self._contain():
            self.memory.enforce(added)

    def _advance_ready(self, budget: Budget, moment: Moment) -> None:
        while self._ready and budget.left > 0:
            stream = next(iter(self._ready))
            del self._ready[stream]
            self._advance(stream, moment, budget)

    def _advance(
        self, stream: Stream, moment: Moment, budget: Budget, greeting: bytes = b""
    ) -> None:
        """Advance a stream; queue it if the budget is used up before it is done."""
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
        """End the live streams of a partition after a batch has failed.

        At the tail's head they would lose the batch; their clients resume from their cursors.
        """
        for stream in feed.live():
            self._end(stream, None, moment)
        self._unpark(feed)

    # The end of a stream.

    def _end(self, stream: Stream, reason: CloseReason | None, moment: Moment) -> None:
        """End a stream after its close event; without a reason if its sink has failed."""
        if not stream.closed:
            with self._contain():
                stream.sink.close()
            self._observer.closed(stream, reason, moment)
            self._remove(stream)

    def _remove(self, stream: Stream) -> None:
        stream.closed = True
        self._outbox.drop(stream)
        self._heartbeats.discard(stream)
        self._ready.pop(stream, None)
        self._closing.pop(stream, None)
        for feed in stream.feeds:
            self._remove_from(stream, feed)
        self.open_streams.remove(stream)

    def _remove_from(self, stream: Stream, feed: PartitionFeed) -> None:
        """Remove the stream from one of its partitions and from a running scan."""
        feed.remove(stream)
        scan = self.scans.get(feed)
        if scan is not None and stream in scan.seekers:
            scan.remove(stream)


class _Arrival:
    """A piece of a batch with the tails it belongs to, and the batch with its last piece."""

    __slots__ = ("piece", "whole")

    def __init__(self, piece: list[tuple[PartitionFeed, Tail | None, Sequence[Record]]]) -> None:
        self.piece = piece
        self.whole: Mapping[TopicPartition, Sequence[Record]] | None = None
