"""Simulated clients: each uses only the bytes it has parsed, and records its expectations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from gateway.core.absent_feed import AbsentFeed
from gateway.core.event_id import CursorEntry, by_topic, is_current, owner, parse
from gateway.core.filter import Selection
from gateway.core.gap import GapReason
from gateway.core.records import LogKind, TimePosition, TopicPartition
from gateway.core.request import StreamRequest
from gateway.errors import EventIdError
from tests.core.network import Connection
from tests.core.seen import Crossing, SeenGap, positions_in
from tests.core.workers import Worker
from tests.core.world import CATEGORIES, KafkaLog, SimulatedTopic, World, Written, by_first_byte
from tests.sse import EventStreamParser

EPOCH = "1970-01-01T00:00:00Z"


class Client:
    """One device of a user; `expects` is the first offset it must get, for each partition."""

    def __init__(
        self,
        world: World,
        user: bytes,
        selections: Sequence[Selection] = (),
        since: int | None = None,
        groups: Mapping[str, Sequence[bytes]] | None = None,
    ) -> None:
        self.groups: dict[str, list[bytes]] = {
            topic: list(names) for topic, names in (groups or {}).items()
        }
        """The names of the user's groups, by topic."""
        self.new_since: dict[bytes, dict[TopicPartition, tuple[int, int]]] = {}
        """The first offsets to expect of a group that the token did not name before, by key."""
        self._new: set[bytes] = set()
        """Keys of groups of which no id of the client has a position yet."""
        self.world = world
        self.user = user
        self.filter = world.filters.find(selections)
        self.since = since
        self.last_id = ""
        self.connection: Connection | None = None
        self.rogue = False
        """The client used an id of another client: only forbidden events are judged."""
        self.expects: dict[TopicPartition, tuple[int, int]] = {}
        self.received: list[int] = []
        self.gaps: list[SeenGap] = []
        self.crossings: list[Crossing] = []
        self.excused: dict[TopicPartition, tuple[int, int]] = {}
        """Offsets removed by retention, while the client had a position by time, are excused."""
        self._floor: dict[TopicPartition, tuple[int, int]] = {}
        """The first offset that a stream without an id may send."""
        self._garbage: dict[TopicPartition, tuple[int, int]] | None = None
        self._snapshots: list[tuple[str, int, int, int]] = []
        self._known: set[TopicPartition] = set()

    def connect(
        self, worker: Worker, *, kafka: bool = True, room: int | None = None, cut: int | None = None
    ) -> Connection:
        """Open a stream. `room` and `cut` are the connection's."""
        assert self.connection is None
        entries: Sequence[CursorEntry] = ()
        malformed = False
        world = self.world
        if not self.last_id:
            assert self.rogue or not self.received, "an event without an id"
            self.expects = self._from_now(worker)
            self.since = None if self.since is None else min(self.since, world.now - 1)
            for log, (incarnation, _) in self.expects.items():
                if self.since is not None:
                    self.expects[log] = incarnation, world.logs[log].at(self.since)
            self.crossings.clear()
            self.excused.clear()
            self._start_over()
        else:
            try:
                entries = parse(self.last_id)
            except EventIdError:
                malformed = True
                self._garbage = self._from_now(worker)
                self.crossings.clear()
                self.excused.clear()
        topics = worker.routes.topics
        if entries:
            self._expect_new_topics(worker, entries)
        for key in self._new:
            self.new_since[key] = {
                log: (kafka.incarnation, kafka.end) for log, kafka in world.logs.items()
            }
        for entry in entries:
            topic = owner(entry, topics)
            if topic is None or (topic.name, entry.partition) not in world.logs:
                continue
            log = TopicPartition(topic.name, entry.partition)
            created = world.logs[log].created
            foreign = not is_current(entry, world.topics[topic.name].topic_as_is())
            incarnation = world.logs[log].incarnation
            # Its first position there decides: a gap that was due then must still be sent.
            again = isinstance(entry.position, TimePosition) and any(
                (each.log, each.incarnation, each.by_id) == (log, incarnation, True)
                for each in self.crossings
            )
            if (foreign or entry.position.timestamp < created) and not again:
                self.crossings.append(
                    Crossing(log, incarnation, entry.position, foreign, by_id=True)
                )
        request = StreamRequest(
            self.user,
            filter=self.filter,
            cursor=entries,
            since=None if malformed else self.since,
            malformed=malformed,
            groups={
                topic: tuple(world.topics[topic].key.key(name) for name in names)
                for topic, names in self.groups.items()
            },
        )
        connection = self.connection = Connection(self, worker, room=room, cut=cut)
        if not entries:
            begin = world.now if request.since is None else request.since
            for feed in worker.routes.feeds(request._replace(cursor=()), world.moment):
                if isinstance(feed, AbsentFeed):
                    continue
                kafka_log = world.logs[feed.log]
                offset = kafka_log.at(begin)
                if feed.tail is not None and request.since is None:
                    offset = feed.tail.head.offset
                self._floor[feed.log] = kafka_log.incarnation, offset
        worker.open(request, connection, kafka=kafka)
        return connection

    def drop(self) -> Connection:
        """Break the connection before more bytes arrive; return it, for `lost`."""
        assert self.connection is not None
        connection = self.connection
        connection.drop(0)
        return connection

    def disconnected(self) -> None:
        """Record that the connection has ended."""
        self.connection = None
        lengths = len(self.received), len(self.gaps), len(self.crossings)
        self._snapshots.append((self.last_id, *lengths))

    def go_back(self, index: int) -> None:
        """Restore an earlier state, like a device restored from a backup."""
        if self._snapshots and self._garbage is None:
            del self._snapshots[index % len(self._snapshots) + 1 :]
            self.last_id, received, gaps, crossings = self._snapshots[-1]
            del self.received[received:]
            del self.gaps[gaps:]
            del self.crossings[crossings:]

    def receive(self, parser: EventStreamParser, data: bytes, epoch: int) -> None:
        """Parse bytes of the stream."""
        for event in parser.feed(data):
            if event.type == "stream.gap":
                self._on_gap(json.loads(event.data), epoch)
            elif event.type != "stream.close":
                number = int(event.data)
                kafka, written = self.world.events[number]
                assert event.type == written.event_type
                assert self.wants(written), "an event outside the client's filter"
                assert kafka.log in self.logs(), "an event of another partition"
                assert kafka.kind is LogKind.BROADCAST or written.key in self._keys(
                    kafka.log.topic
                ), "an event of another user or group"
                position = kafka.incarnation, written.offset
                floor = (
                    position
                    if self.world.topics_recreated
                    else self._floor.get(kafka.log, position)
                )
                assert self.rogue or position >= floor, "an event from before the stream"
                self.received.append(number)
        if parser.last_event_id != self.last_id:
            self._new.clear()
        self.last_id = parser.last_event_id

    def names(self, topic: str) -> list[bytes]:
        """Return the names whose keys the client's streams read in a topic."""
        if self.world.topics[topic].kind is LogKind.GROUP:
            return self.groups.get(topic, [])
        return [self.user]

    def _keys(self, topic: str) -> list[bytes]:
        return [self.world.topics[topic].key.key(name) for name in self.names(topic)]

    def logs(self) -> list[TopicPartition]:
        """Return all partitions that the client's events have had, the present ones first."""
        return [
            log
            for topic in self.world.topics.values()
            for log in topic.logs(self.names(topic.name))
        ]

    def regroup(self, topic: str, names: Sequence[bytes]) -> None:
        """Let the next token name these groups."""
        before = set(self._keys(topic))
        self.groups[topic] = list(names)
        after = set(self._keys(topic))
        self._new = (self._new | (after - before)) - (before - after)

    def wants(self, written: Written) -> bool:
        """Return whether the event matches the client's filter, by a definition of its own."""
        return self.filter is None or all(
            CATEGORIES[written.event_type] in categories
            or written.event_type in types
            or any(written.event_type[: len(prefix)] == prefix for prefix in prefixes)
            for categories, types, prefixes in self.filter.selections
        )

    def concerns(self, kafka: KafkaLog, written: Written) -> bool:
        """Return whether the record is an event for the client."""
        if written.number is None or not self.wants(written):
            return False
        return kafka.kind is LogKind.BROADCAST or written.key in self._keys(kafka.log.topic)

    def is_new(self, kafka: KafkaLog, written: Written) -> bool:
        """Return whether the record is older than the client's membership in its group."""
        since = self.new_since.get(written.key or b"", {}).get(kafka.log)
        return since is not None and (kafka.incarnation, written.offset) < since

    def before_recreation(self, log: TopicPartition, worker: Worker, incarnation: int) -> None:
        """Record the position of the client's stream before its partition is recreated."""
        stream = None if self.connection is None else self.connection.stream
        if stream is None or self.connection is None or self.connection.worker is not worker:
            return
        for feed in stream.feeds:
            if isinstance(feed, AbsentFeed) or feed.log == log:
                for position in positions_in(stream, feed, log):
                    self.crossings.append(
                        Crossing(log, incarnation, position, foreign=False, by_id=False)
                    )

    def before_trimming(self, log: TopicPartition, start: int) -> None:
        """Excuse removed records while the client has a position by time."""
        here = [
            entry.position for entry in self._entries(log.topic) if entry.partition == log.partition
        ]
        crossed = [each.position for each in self.crossings if each.log == log]
        by_time = not here or any(isinstance(position, TimePosition) for position in here + crossed)
        if log in self.logs() and by_time:
            self.excused[log] = self.world.logs[log].incarnation, start

    def _on_gap(self, facts: dict[str, object], epoch: int) -> None:
        reason = GapReason(str(facts["reason"]))
        if reason is GapReason.INVALID:
            assert self.rogue or self._garbage is not None, "the id was valid"
            self._start_over()
            self.expects = self._garbage or {}
            self._garbage = None
            return
        first, next_ = facts.get("from"), facts.get("to")
        assert first is None or isinstance(first, int)
        assert isinstance(next_, int)
        partition = facts["partition"]
        assert isinstance(partition, int)
        log = self._log(LogKind(str(facts["log"])), partition, next_)
        time = datetime.fromisoformat(str(facts.get("since", EPOCH)))
        since = round(time.timestamp() * 1000)
        self.gaps.append(SeenGap(reason, log, first, next_, since, epoch, len(self.received)))

    def _start_over(self) -> None:
        self.received.clear()
        self.gaps.clear()
        self._snapshots.clear()

    def before_growth(self) -> None:
        """Record the user's partitions before the topic grows."""
        self._known = set(self.logs())

    def after_growth(self, *, appeared: bool = False) -> None:
        """Expect all events of the new partitions, if the client has connected before.

        Of a topic that it does not follow only if the topic has `appeared`.
        """
        if self.expects:
            followed = {log.topic for log in self.expects}
            for log in set(self.logs()) - self._known:
                if log.topic not in followed and not appeared:
                    continue
                kafka = self.world.logs[log]
                self.expects[log] = kafka.incarnation, kafka.end
                if self._garbage is not None:
                    self._garbage[log] = self.expects[log]

    def after_unseen_recreation(self, topic: SimulatedTopic) -> None:
        """Expect only the new incarnation if the client has no position in the former one."""
        if self._entries(topic.name):
            return
        for log in self.expects:
            if log.topic == topic.name:
                kafka = self.world.logs[log]
                self.expects[log] = kafka.incarnation, kafka.start

    def _entries(self, topic: str) -> Sequence[CursorEntry]:
        """Return the entries of a topic in the client's id; empty for an invalid id."""
        try:
            entries = parse(self.last_id)
        except EventIdError:
            return []
        topics = [each.topic_as_is() for each in self.world.configured]
        return by_topic(entries, topics).get(topic, [])

    def _from_now(self, worker: Worker) -> dict[TopicPartition, tuple[int, int]]:
        """Return the client's expectations from now on, for partitions that are followed.

        Includes the user's present partition, which a worker with old metadata will follow later.
        """
        world = self.world
        groups = {topic: tuple(self._keys(topic)) for topic in self.groups}
        feeds = worker.routes.feeds(StreamRequest(self.user, groups=groups), world.moment)
        present = [
            TopicPartition(topic.name, by_first_byte(key, topic.counts[-1]))
            for topic in world.configured
            if topic.exists and topic.kind is not LogKind.BROADCAST
            for key in self._keys(topic.name)
        ]
        logs = [world.logs[log] for log in {*(feed.log for feed in feeds), *present}]
        return {kafka.log: (kafka.incarnation, kafka.end) for kafka in logs}

    def _expect_new_topics(self, worker: Worker, entries: Sequence[CursorEntry]) -> None:
        """Expect events from now on of topics without an entry, none of those not configured."""
        topics = worker.routes.topics
        known = {topic.name for entry in entries if (topic := owner(entry, topics)) is not None}
        self.expects = {log: begin for log, begin in self.expects.items() if log.topic in known}
        from_now = self._from_now(worker)
        self.expects |= {log: begin for log, begin in from_now.items() if log.topic not in known}
        self.expects |= {
            log: begin
            for log, begin in from_now.items()
            if log not in self.expects and self.world.topics[log.topic].kind is LogKind.GROUP
        }

    def _log(self, kind: LogKind, partition: int, offset: int) -> TopicPartition:
        """Return the partition of a gap that ends at `offset`."""
        (name,) = [
            topic.name
            for topic in self.world.topics.values()
            if topic.kind is kind and topic.first <= offset < topic.first + 1000
        ]
        return TopicPartition(name, partition)
