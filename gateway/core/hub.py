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
returns True and yields to the event loop in between; `Edge.busy` tells it to start. The hub does
no I/O and raises for no input; its assertions check its own invariants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core import frame
from gateway.core.admission import OpenStreams
from gateway.core.arrivals import Arrivals
from gateway.core.budget import SHARE, Budget
from gateway.core.catch_up import CatchUp
from gateway.core.delivery import Outbox
from gateway.core.ends import StreamEnds
from gateway.core.feed import PartitionFeed
from gateway.core.gap import CloseReason, Gap, GapReason
from gateway.core.heartbeats import Heartbeats
from gateway.core.key_check import KeyCheck
from gateway.core.memory import Memory
from gateway.core.partition_tails import PartitionTails
from gateway.core.ready import ReadyStreams
from gateway.core.reconnect import usual_delay
from gateway.core.scans import Scans
from gateway.core.start_states import start_states
from gateway.core.stream import Stream
from gateway.core.stuck import StuckStreams

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.core.catch_up_state import CatchUpState
    from gateway.core.edge import Edge, HubOptions
    from gateway.core.interpreter import Interpreter
    from gateway.core.records import Moment, OffsetPosition, Record, TopicPartition
    from gateway.core.request import StreamRequest
    from gateway.core.scan import Scan
    from gateway.core.source import Topic
    from gateway.core.stream import Sink


class Hub:
    """All streams of one worker."""

    def __init__(self, options: HubOptions, interpreter: Interpreter, edge: Edge) -> None:
        observer, wake, self._busy, contain = edge
        self._id_version = options.id_version
        self._version = options.id_version.encode()
        self.feeds: dict[TopicPartition, PartitionFeed] = {}
        self.open_streams = OpenStreams()
        self.streams = self.open_streams.streams
        self.memory = Memory(options.tail_bytes, self.feeds)
        self._retry_ms = options.retry_ms
        self._observer = observer
        self._wake = wake
        self._contain = contain
        self._outbox = Outbox(interpreter, observer, contain)
        self._heartbeats = Heartbeats(options.heartbeat, self.streams, self._outbox)
        self._catch_up = CatchUp(interpreter, options.replay, observer, self._outbox, wake)
        self._ends = StreamEnds(self.open_streams, self._outbox, observer)
        self.scans: Mapping[PartitionFeed, Scan] = self._ends.scans
        """Scans, at most one for each partition: running, or with streams to hand over."""
        self._ready = ReadyStreams(self._catch_up, self._ends)
        self._stuck = StuckStreams(self.open_streams, self._outbox, self._ends, options.slow)
        self._tails = PartitionTails(self.streams, self._outbox, self._ready)
        self._scans = Scans(options.replay, self.memory, self._ready, self._ends, wake)
        keys = KeyCheck(options.key_hash, observer)
        self.arrivals = Arrivals(self._outbox, self.memory, self._ready, self._ends, keys)
        self._stirred = self._resting = False
        """Whether something has happened since the last `is_quiet`, and whether that was true."""

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
        self._tails.forget(feed)
        del self.feeds[feed.log]

    def activate(self, feed: PartitionFeed, end: OffsetPosition, moment: Moment) -> None:
        """Create the partition's tail at `end`; later records arrive by `dispatch`."""
        self._tails.activate(feed, end)
        if feed.waiting:
            self._wake(feed)
        self._work(moment)

    def deactivate(self, feed: PartitionFeed) -> None:
        """Remove the partition's tail; its live streams are behind at the former head.

        The partition may be another incarnation when it is read again, so every position in it has
        to be verified again. Costs nothing: `step` moves the streams, and `activate` the rest.
        """
        self._tails.deactivate(feed)
        self._busy()

    def dispatch(self, batches: Mapping[TopicPartition, Sequence[Record]], moment: Moment) -> None:
        """Deliver fetched records, in offset order for each partition, to live streams.

        Records beyond the budget of one step are delivered by `step`; until then the caller should
        not fetch more: see `delivering`.
        """
        self.arrivals.add(batches, self.feeds)
        self._work(moment)

    @property
    def delivering(self) -> bool:
        """Whether dispatched records are not yet written to all live streams."""
        return bool(self.arrivals)

    def begin_scan(self, feed: PartitionFeed) -> Scan:
        """Return a scan for all streams that wait for one of this partition.

        Raises `ValueError` if the partition has a running scan or no tail.
        """
        return self._scans.begin(feed)

    def advance(self, streams: Iterable[Stream], moment: Moment) -> None:
        """Advance streams, such as those for which a scan has found events."""
        self._ready.queue(streams)
        self._work(moment)

    def end_scan(self, feed: PartitionFeed, moment: Moment) -> None:
        """End the scan, complete or not; `step` hands its streams over and then removes it."""
        self._scans.end(feed)
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
        stream = Stream(request, feeds, sink, moment.monotonic, self._version)
        states = start_states(request, feeds, moment)
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
            self._ends.deadlines.add(stream, deadlines, len(self.streams))
            sink.bind(stream)
            greeting = frame.id_block(stream.id())
            if request.malformed:
                # The first id comes with the gap; a client that disconnects in between would miss
                # the gap.
                greeting = frame.gap(stream.id(), Gap(GapReason.INVALID))
                self._observer.gap(GapReason.INVALID)
        if contained.failed:
            self._ends.end(stream, None, moment)
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
                self._ends.remove_from(stream, feed)
        for feed in begin:
            feed.streams += 1
            stream.catching_up[feed] = begin[feed]
        stream.feeds = feeds

    def stuck(self, stream: Stream, moment: Moment) -> None:
        """Stop writing to the stream, whose transport is full, until `drained`."""
        self._stuck.add(stream, moment)

    def drained(self, stream: Stream, moment: Moment) -> None:
        """Resume writing to the stream: its transport has drained."""
        if self._stuck.remove(stream):
            self._advance_at_once(stream, moment)

    def close(
        self, stream: Stream, reason: CloseReason, moment: Moment, retry_ms: int | None = None
    ) -> None:
        """Write `stream.close` and end the stream; no effect on a closed stream."""
        self._ends.close(stream, reason, moment, retry_ms)

    def close_all(self, streams: Iterable[Stream], reason: CloseReason, moment: Moment) -> None:
        """Close streams, in as many steps as required."""
        self._ends.queue(streams, reason)
        self._work(moment)

    def lost(self, stream: Stream, moment: Moment) -> None:
        """Remove a stream whose client has disconnected."""
        self._ends.lost(stream, moment)

    def tick(self, moment: Moment) -> None:
        """Close expired and slow streams, and send heartbeats; call five times a second.

        Cheap while no deadline is due; silent streams are searched at most once a second.
        """
        now = moment.monotonic
        self._stuck.close_slow(now)
        if self._heartbeats.check(now):
            self._catch_up.runs.drop()
        if self.step(moment):
            self._busy()

    def is_quiet(self, moment: Moment, seconds: float) -> bool:
        """Return whether `tick` has nothing to do for some seconds unless something happens.

        That is the case if nothing has happened since the last call and no deadline or slow stream
        is due until then. Heartbeats need a tick only once a second. Whatever happens next calls
        `busy`.
        """
        until = moment.monotonic + seconds
        self._resting = not (
            self._stirred
            or self.delivering
            or self._has_other_work(moment)
            or self._stuck
            or self._ends.deadlines.is_due(until)
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
        self.arrivals.step(budget, moment)
        if self.scans or self._has_other_work(moment):
            budget.guarantee(SHARE)
            for stream in self._heartbeats.send(budget, moment):
                self._ends.end(stream, None, moment)
            budget.guarantee(SHARE)
            self._ends.step(budget, moment)
            budget.guarantee(SHARE)
            self._tails.step(budget)
            self._ends.failed(moment)
            budget.guarantee(SHARE)
            self._scans.step(budget, moment)
            budget.guarantee(SHARE)
            self._ready.step(budget, moment)
            budget.guarantee(1)
            self._tails.free(budget)
        self._ready.report(moment)
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
        self._stir()
        self._ready.advance_at_once(stream, moment, greeting)
        if self._ready:
            self._busy()

    def _has_other_work(self, moment: Moment) -> bool:
        """Return whether there is work besides live events."""
        return bool(
            self._ready
            or self._heartbeats
            or self._ends
            or self._tails
            or self._scans
            or self._ends.deadlines.is_due(moment.monotonic)
        )
