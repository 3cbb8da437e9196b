"""A simulated Kafka and a clock.

A partition is a list of records with holes in the offsets and a moving start offset.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from hashlib import blake2b
from operator import attrgetter
from typing import NamedTuple

from gateway.core.event_id import Version
from gateway.core.filter import Filters
from gateway.core.records import LogKind, Moment, Record, TopicPartition, make_record
from gateway.core.registry import Registry
from gateway.core.source import KeyTemplate, Topic, name_mark

USER_TOPIC = "user-events"
BROADCAST_TOPIC = "broadcast-events"
DATA = "import.progress"
OTHER = "ai.response.chunk"
CATEGORIES = {DATA: "import", OTHER: "ai"}

_offset = attrgetter("offset")


def first_byte(key: bytes) -> int:
    """Return the first byte of a key, a hash that is easy to read in tests."""
    return key[0] if key else 0


def by_first_byte(key: bytes, partitions: int) -> int:
    """Return the partition of a key by `first_byte`."""
    return first_byte(key) % partitions


class Written(NamedTuple):
    """One record of the simulated Kafka; `number` is `None` if it is not an event."""

    offset: int
    timestamp: int
    key: bytes | None
    number: int | None
    event_type: str = DATA

    def record(self) -> Record:
        """Return a new `Record`, as if read from the network."""
        if self.number is None:
            return make_record(self.offset, self.timestamp, self.key, None)
        headers = (("event_type", self.event_type.encode()),)
        value = b"%d" % self.number
        return make_record(self.offset, self.timestamp, self.key, value, headers)


class KafkaLog:
    """One partition: the retained records, and for the judge all records ever written."""

    def __init__(
        self, log: TopicPartition, kind: LogKind, incarnation: int, created: int, start: int = 0
    ) -> None:
        self.log = log
        self.kind = kind
        self.incarnation = incarnation
        self.created = created
        self.start = start
        self.end = start
        self.records: list[Written] = []
        self.all: list[Written] = []
        self.compacted: set[int] = set()

    def write(self, written: Written) -> None:
        self.records.append(written)
        self.all.append(written)
        self.end = written.offset + 1

    def trim(self, start: int) -> None:
        """Remove all records before `start`, as retention does."""
        self.start = max(self.start, start)
        del self.records[: bisect_left(self.records, self.start, key=_offset)]

    def compact(self, index: int) -> None:
        """Remove one record, which leaves a hole."""
        self.compacted.add(self.records.pop(index).offset)

    def at(self, timestamp: int) -> int:
        """Return the first offset at or after a time, or the end, as ListOffsets does."""
        for written in self.records:
            if written.timestamp >= timestamp:
                return written.offset
        return self.end

    def read(self, offset: int, most: int) -> list[Written]:
        index = bisect_left(self.records, offset, key=_offset)
        return self.records[index : index + most]

    def holds_position(self, offset: int) -> bool:
        """Return whether `offset` is in range, as Kafka checks a fetch."""
        return self.start <= offset <= self.end

    def holds(self, offset: int) -> bool:
        index = bisect_left(self.records, offset, key=_offset)
        return index < len(self.records) and self.records[index].offset == offset


class Extra(NamedTuple):
    """A topic besides the user topic and the broadcast topic."""

    name: str
    kind: LogKind
    partitions: int = 1


class SimulatedTopic:
    """A topic of the simulated Kafka, with the source that reads it.

    Offsets of each topic begin at another thousand, so that a gap shows its topic.
    """

    def __init__(self, name: str, kind: LogKind, partitions: int, number: int) -> None:
        self.name = name
        self.kind = kind
        self.counts = [partitions]
        """Partition counts, the present one last."""
        self.grown = 0
        """When the topic last grew."""
        self.first = number * 1000
        """The first offset of each partition."""
        self.key = KeyTemplate(b"", b"@%d" % number) if number else KeyTemplate()
        self.tag = b""
        self.configured = True
        """Whether new workers read the topic."""
        self.exists = True
        self.visible = True
        """Whether brokers return the topic in metadata; its records are kept meanwhile."""

    def logs(self, names: Iterable[bytes]) -> list[TopicPartition]:
        """Return the partitions that the keys of `names` have had, the present ones first."""
        if not self.exists:
            return []
        if self.kind is LogKind.BROADCAST:
            return [TopicPartition(self.name, 0)]
        keys = [self.key.key(name) for name in names]
        found = [by_first_byte(key, count) for count in reversed(self.counts) for key in keys]
        return [TopicPartition(self.name, partition) for partition in dict.fromkeys(found)]

    def topic(self) -> Topic:
        """Return the topic as a worker with new metadata knows it."""
        if self.exists and self.visible:
            return self.topic_as_is()
        return self.topic_as_is()._replace(tag=b"none", partitions=0)

    def topic_as_is(self) -> Topic:
        """Return the topic, also if brokers do not return it."""
        key = None if self.key == KeyTemplate() else self.key
        mark = name_mark(self.name)
        return Topic(self.name, self.kind, self.tag, self.counts[-1], mark=mark, key=key)


class Setup(NamedTuple):
    """Configuration of a history."""

    partitions: int = 1
    broadcast: bool = True
    tail_bytes: int = 1 << 30
    max_events: int = 1000
    max_records: int = 5_000_000
    max_age_ms: int = 3_600_000
    warm_ms: int = 60_000
    heartbeat: float = 0.1
    slow: float = 0.5
    tag: bytes = b"tagA"
    settle: float = 0.3
    stale_ms: int = 100
    """How long some producers still use the former partition count after a growth (ms)."""
    extras: tuple[Extra, ...] = ()


class World:
    """Kafka, a clock, and the common configuration of all workers of a history."""

    def __init__(self, setup: Setup, registry: Registry) -> None:
        self.setup = setup
        self.registry = registry
        self.filters = Filters()
        self.now = 1_000_000
        kinds = [Extra(USER_TOPIC, LogKind.USER, setup.partitions), *setup.extras]
        if setup.broadcast:
            kinds.append(Extra(BROADCAST_TOPIC, LogKind.BROADCAST))
        self.topics = {
            extra.name: SimulatedTopic(*extra, number if extra in setup.extras else 0)
            for number, extra in enumerate(kinds)
        }
        self.tag = setup.tag
        self.topics_recreated = False
        """Whether topics were recreated, so that a worker may have read a new one unaware."""
        self.epoch = 0
        """Number of partitions recreated so far."""
        self.logs: dict[TopicPartition, KafkaLog] = {}
        self.former: list[KafkaLog] = []
        """Deleted partitions."""
        for topic in self.topics.values():
            for partition in range(topic.counts[0]):
                self._create(TopicPartition(topic.name, partition))
        self.events: dict[int, tuple[KafkaLog, Written]] = {}
        """Every event ever written, by number."""

    @property
    def moment(self) -> Moment:
        return Moment(self.now / 1000, self.now)

    @property
    def tag(self) -> bytes:
        """The tag of the user topic and the broadcast topic."""
        return self.topics[USER_TOPIC].tag

    @tag.setter
    def tag(self, tag: bytes) -> None:
        for topic in self.topics.values():
            topic.tag = blake2b(tag + topic.name.encode(), digest_size=4).digest()
            if topic.name in (USER_TOPIC, BROADCAST_TOPIC):
                topic.tag = tag

    @property
    def configured(self) -> list[SimulatedTopic]:
        """The topics that new workers read, in order."""
        return [topic for topic in self.topics.values() if topic.configured]

    @property
    def version(self) -> Version:
        """The version of the ids of new workers."""
        extras = {extra.name for extra in self.setup.extras}
        return Version.TWO if any(t.name in extras for t in self.configured) else Version.ONE

    def _create(self, log: TopicPartition) -> None:
        topic = self.topics[log.topic]
        self.logs[log] = KafkaLog(log, topic.kind, self.epoch, self.now, topic.first)

    def write(
        self,
        log: TopicPartition,
        key: bytes | None,
        *,
        hole: int = 0,
        event_type: str | None = DATA,
    ) -> Written:
        """Write a record `hole` offsets after the end; without a type it is unreadable."""
        kafka = self.logs[log]
        number = None if event_type is None else len(self.events) + 1
        written = Written(kafka.end + hole, self.now, key, number, event_type or DATA)
        kafka.write(written)
        if number is not None:
            self.events[number] = (kafka, written)
        return written

    def grow(self, partitions: int, name: str = USER_TOPIC) -> None:
        """Add partitions to a topic."""
        self.now += 5
        topic = self.topics[name]
        for partition in range(topic.counts[-1], partitions):
            self._create(TopicPartition(name, partition))
        topic.counts.append(partitions)
        topic.grown = self.now

    def hide(self, name: str) -> None:
        """Let a topic be missing from the start."""
        topic = self.topics[name]
        topic.exists = False
        for partition in range(topic.counts[0]):
            del self.logs[TopicPartition(name, partition)]

    def appear(self, name: str) -> None:
        """Create a missing topic."""
        self.now += 5
        self.epoch += 1
        topic = self.topics[name]
        topic.exists = True
        for partition in range(topic.counts[0]):
            self._create(TopicPartition(name, partition))

    def incarnations(self, log: TopicPartition) -> list[KafkaLog]:
        """Return all incarnations of a partition, oldest first."""
        return [*(former for former in self.former if former.log == log), self.logs[log]]

    def recreate(self, log: TopicPartition) -> None:
        """Delete and recreate a partition; takes 10 ms."""
        self.now += 5
        old = self.logs[log]
        self.former.append(old)
        self.epoch += 1
        self._create(log)
        self.now += 5

    def recreate_topics(self, tag: bytes) -> None:
        """Delete and recreate all topics with a new tag."""
        self.tag = tag
        self.topics_recreated = True
        for log in list(self.logs):
            self.recreate(log)

    def recreate_topic(self, name: str, tag: bytes) -> None:
        """Delete and recreate one topic with a new tag."""
        self.topics[name].tag = tag
        self.topics[name].grown = 0  # producers learn the present count with the new topic
        self.topics_recreated = True
        for log in [log for log in self.logs if log.topic == name]:
            self.recreate(log)
