"""Workers without I/O: a real hub, and a simulated edge that runs step by step.

The edge replaces `gateway.kafka.live_reader` and `gateway.kafka.replay_reader`. Where those await,
the test chooses the next step.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from random import Random
from types import TracebackType
from typing import Self

from gateway.core.containment import Containment
from gateway.core.edge import Edge, HubOptions
from gateway.core.event import Decoder
from gateway.core.feed import PartitionFeed
from gateway.core.gap import CloseReason, GapReason
from gateway.core.hub import Hub
from gateway.core.interpreter import Interpreter
from gateway.core.limits import Extent, Limits
from gateway.core.observer import Path
from gateway.core.partition_map import PartitionMap
from gateway.core.records import Moment, OffsetPosition, TopicPartition, UnreadableReason
from gateway.core.request import StreamRequest
from gateway.core.stream import Sink, Stream
from tests.core.world import World, first_byte


class Interrupted(Exception):
    """Kafka failed during a scan."""


class SilentObserver:
    """Records all reports of the core."""

    def __init__(self) -> None:
        self.gaps: list[GapReason] = []
        self.opened_streams = 0
        self.closes: list[CloseReason | None] = []
        self.paths: dict[Path, int] = {}
        self.unreadables: list[tuple[TopicPartition, int, UnreadableReason]] = []
        self.unknown_types: list[str] = []
        self.misplacements: list[tuple[TopicPartition, int, int]] = []

    def sent(self, path: Path, deliveries: Sequence[tuple[int, int]], moment: Moment) -> None:
        assert deliveries
        self.paths[path] = self.paths.get(path, 0) + sum(number for _, number in deliveries)

    def gap(self, reason: GapReason) -> None:
        self.gaps.append(reason)

    def opened(self, stream: Stream) -> None:
        self.opened_streams += 1

    def closed(self, stream: Stream, reason: CloseReason | None, moment: Moment) -> None:
        self.closes.append(reason)

    def unreadable(
        self, log: TopicPartition, offset: int, reason: UnreadableReason, detail: str = ""
    ) -> None:
        self.unreadables.append((log, offset, reason))

    def unknown_type(self, event_type: str) -> None:
        self.unknown_types.append(event_type)

    def misplaced(self, log: TopicPartition, offset: int, expected: int) -> None:
        self.misplacements.append((log, offset, expected))


class Faults:
    """Containment for tests: an unexpected exception fails the test, unless it is `tolerant`."""

    def __init__(self) -> None:
        self.tolerant = False
        self.seen: list[BaseException] = []

    def contain(self) -> Contained:
        """Return a block that suppresses exceptions if `tolerant`."""
        return Contained(self)


class Contained(Containment):
    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self.failed = True
        self._faults.seen.append(error)
        return self._faults.tolerant


class Worker:
    """A hub and a simulated edge; each await of the real edge is a step."""

    def __init__(self, world: World) -> None:
        setup = world.setup
        self.world = world
        self.observer = SilentObserver()
        self.faults = Faults()
        self.busy = False
        """Whether the hub has requested steps."""
        self.hub = Hub(
            HubOptions(
                replay=Limits(setup.max_age_ms, setup.max_events, setup.max_records),
                key_hash=first_byte,
                tail_bytes=setup.tail_bytes,
                retry_ms=3000,
                heartbeat=setup.heartbeat,
                slow=setup.slow,
                id_version=world.version,
            ),
            Interpreter(Decoder(world.registry), self.observer, self.faults.contain),
            Edge(self.observer, self.wake, self._begin, self.faults.contain),
        )
        topics = [topic.topic() for topic in world.configured]
        self.routes = PartitionMap(self.hub, topics, first_byte, setup.settle)
        self.verified = dict.fromkeys([topic.name for topic in topics], world.now)
        """When each topic was last found."""
        self.requested: dict[PartitionFeed, None] = {}
        """Partitions to read as soon as Kafka answers."""
        self.woken: dict[PartitionFeed, None] = {}
        self.cold: set[PartitionFeed] = set()
        self.positions: dict[PartitionFeed, int] = {}
        """Offsets of the live consumer."""
        self.scans: dict[PartitionFeed, Generator[None]] = {}

    # Live.

    def open(self, request: StreamRequest, sink: Sink, *, kafka: bool = True) -> Stream:
        """Open a stream; without `kafka`, partitions that are not read start later."""
        feeds, mismatch = self.routes.find(request, self.world.moment)
        if mismatch:
            self.refresh_topics()
            feeds = self.routes.feeds(request, self.world.moment)
        for feed in feeds:
            if feed.tail is None:
                self.requested[feed] = None
        if kafka:
            self.activate()
        return self.hub.open(request, feeds, sink, [], self.world.moment)

    def refresh_topics(self) -> None:
        """Apply the present topics."""
        world, moment = self.world, self.world.moment
        for topic in self.routes.topics:
            found = world.topics[topic.name].topic()
            if not found.partitions:
                continue
            if topic.tag != found.tag:
                for feed in list(self.positions):
                    if feed.log.topic == topic.name:
                        self.stop_reading(feed)
            if (topic.tag, topic.partitions) != (found.tag, found.partitions):
                self.routes.update(found, self.verified[topic.name], moment)
            self.verified[topic.name] = world.now
        self.move()
        self._request_reads()

    def move(self) -> None:
        """Move all streams to the present partitions."""
        while self.routes.step(self.world.moment):
            pass

    def _request_reads(self) -> None:
        for feed in self.hub.feeds.values():
            if feed.streams and feed.tail is None:
                self.requested[feed] = None

    def activate(self) -> None:
        """Start reading the requested partitions."""
        for feed in self.requested:
            if self.hub.feeds.get(feed.log) is not feed:
                continue
            end = self.world.logs[feed.log].end
            self.positions[feed] = end
            self.hub.activate(feed, OffsetPosition(end, self.world.now, False), self.world.moment)
            if self.world.setup.warm_ms:
                self.cold.add(feed)
                self.wake(feed)
        self.requested.clear()

    def open_logs(self) -> None:
        """Start reading all partitions, as if they had streams."""
        for feed in self.hub.feeds.values():
            self.requested[feed] = None
        self.activate()

    def restart(self, feed: PartitionFeed) -> None:
        """Restart at the end: the partition does not continue at the offset read."""
        if feed.tail is not None:
            self.stop_reading(feed)
            self.requested[feed] = None

    def stop_reading(self, feed: PartitionFeed) -> None:
        del self.positions[feed]
        self.hub.deactivate(feed)

    def sweep(self) -> None:
        """Drop former partitions that have settled, and partitions without streams."""
        self.routes.settle(self.world.moment)
        self.move()
        for feed in list(self.positions):
            if not feed.streams:
                self.stop_reading(feed)

    def poll(self, random: Random | None = None) -> bool:
        """Dispatch new records, all or a random part; return whether any were found."""
        batches = {}
        for feed, position in list(self.positions.items()):
            if not self.world.logs[feed.log].holds_position(position):
                self.refresh_topics()
                break
        for feed, position in list(self.positions.items()):
            kafka = self.world.logs[feed.log]
            if not kafka.holds_position(position):
                self.restart(feed)
                continue
            new = kafka.read(position, random.randint(0, 6) if random else len(kafka.records))
            if new:
                self.positions[feed] = new[-1].offset + 1
                batches[feed.log] = [written.record() for written in new]
        if batches:
            self.hub.dispatch(batches, self.world.moment)
            assert self.hub.memory.tails <= self.world.setup.tail_bytes
        return bool(batches)

    # Steps.

    def _begin(self) -> None:
        self.busy = True

    def work(self) -> bool:
        """Run one requested step of the hub; return whether one was requested."""
        if not self.busy:
            return False
        self.busy = self.hub.step(self.world.moment)
        return True

    # Scans.

    def wake(self, feed: PartitionFeed) -> None:
        if feed.tail is not None and feed not in self.hub.scans:
            self.woken[feed] = None

    def begin_scan(self, feed: PartitionFeed, random: Random | None = None) -> None:
        """Begin a requested scan, which `step` continues."""
        del self.woken[feed]
        if feed.tail is not None and feed not in self.hub.scans:
            self.scans[feed] = self._scan(feed, random)

    def step(self, feed: PartitionFeed, *, interrupt: bool = False) -> None:
        """Continue a scan up to its next await, or interrupt it."""
        scan = self.scans[feed]
        try:
            if interrupt:
                scan.throw(Interrupted)
            else:
                next(scan)
        except StopIteration:
            del self.scans[feed]
        except Interrupted:
            del self.scans[feed]
            if feed.waiting or feed in self.cold:
                self.wake(feed)

    def _scan(self, feed: PartitionFeed, random: Random | None) -> Generator[None]:
        world = self.world
        scan = self.hub.begin_scan(feed)
        try:
            yield
            kafka = world.logs[feed.log]
            oldest = world.now - world.setup.max_age_ms
            start, cutoff = kafka.start, kafka.at(oldest)
            if random:
                yield
            kafka = world.logs[feed.log]
            scan.begin(Extent(start, kafka.end, cutoff, oldest))
            if feed in self.cold:
                scan.warm(min(kafka.at(world.now - world.setup.warm_ms), scan.end - 1), 2000)
            times = scan.times
            if random:
                yield
            kafka = world.logs[feed.log]
            located = {time: kafka.at(time) for time in times}
            while not scan.located:
                if random:
                    yield
                self.hub.advance(scan.locate(located), world.moment)
            while scan.reading:
                yield
                if not scan.skip():
                    continue
                kafka = world.logs[feed.log]
                if not kafka.start <= scan.position <= kafka.end:
                    raise Interrupted
                most = min(scan.run, random.randint(1, 8)) if random else scan.run
                batch = kafka.read(scan.position, most)
                if not batch and scan.position >= kafka.end and scan.position < scan.end:
                    raise Interrupted
                position = batch[-1].offset + 1 if batch else kafka.end
                scan.feed(scan.pick([written.record() for written in batch]), position)
                self.hub.advance(scan.harvest(), world.moment)
            self.cold.discard(feed)
        finally:
            self.hub.end_scan(feed, world.moment)

    def settle(self) -> None:
        """Read all records and run all requested scans until the worker is idle."""
        for _ in range(1000):
            self.refresh_topics()
            self.activate()
            moved = self.poll()
            while self.work():
                moved = True
            for feed in list(self.woken):
                self.begin_scan(feed)
            for feed in list(self.scans):
                while feed in self.scans:
                    self.step(feed)
            if not (moved or self.busy or self.requested or self.woken):
                return
        raise AssertionError("the worker does not become idle")
