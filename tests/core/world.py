"""A simulated Kafka and a clock.

A partition is a list of records with holes in the offsets and a moving start offset.
"""

from __future__ import annotations

from bisect import bisect_left
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from gateway.core.filter import Filters
from gateway.core.records import LogKind, Moment, TopicPartition, make_record

if TYPE_CHECKING:
    from gateway.core.records import Record
    from gateway.core.registry import Registry

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

    def __init__(self, log: TopicPartition, kind: LogKind, incarnation: int, created: int) -> None:
        self.log = log
        self.kind = kind
        self.incarnation = incarnation
        self.created = created
        self.start = 0
        self.end = 0
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


class World:
    """Kafka, a clock, and the common configuration of all workers of a history."""

    def __init__(self, setup: Setup, registry: Registry) -> None:
        self.setup = setup
        self.registry = registry
        self.filters = Filters()
        self.now = 1_000_000
        self.tag = setup.tag
        self.partitions = [setup.partitions]
        """Partition counts of the user topic, the present one last."""
        self.grown = 0
        """When the topic last grew."""
        self.topics_recreated = False
        """Whether topics were recreated, so that a worker may have read a new one unaware."""
        self.epoch = 0
        """Number of partitions recreated so far."""
        self.logs: dict[TopicPartition, KafkaLog] = {}
        self.former: list[KafkaLog] = []
        """Deleted partitions."""
        for partition in range(setup.partitions):
            self._create(TopicPartition(USER_TOPIC, partition), LogKind.USER)
        if setup.broadcast:
            self._create(TopicPartition(BROADCAST_TOPIC, 0), LogKind.BROADCAST)
        self.events: dict[int, tuple[KafkaLog, Written]] = {}
        """Every event ever written, by number."""

    @property
    def moment(self) -> Moment:
        return Moment(self.now / 1000, self.now)

    def _create(self, log: TopicPartition, kind: LogKind) -> None:
        self.logs[log] = KafkaLog(log, kind, self.epoch, self.now)

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

    def logs_of(self, user: bytes) -> list[TopicPartition]:
        """Return all partitions that a user's events have had, the present one first."""
        partitions = [by_first_byte(user, count) for count in reversed(self.partitions)]
        logs = [TopicPartition(USER_TOPIC, partition) for partition in dict.fromkeys(partitions)]
        return [*logs, TopicPartition(BROADCAST_TOPIC, 0)] if self.setup.broadcast else logs

    def grow(self, partitions: int) -> None:
        """Add partitions to the user topic."""
        self.now += 5
        for partition in range(self.partitions[-1], partitions):
            self._create(TopicPartition(USER_TOPIC, partition), LogKind.USER)
        self.partitions.append(partitions)
        self.grown = self.now

    def incarnations(self, log: TopicPartition) -> list[KafkaLog]:
        """Return all incarnations of a partition, oldest first."""
        return [*(former for former in self.former if former.log == log), self.logs[log]]

    def recreate(self, log: TopicPartition) -> None:
        """Delete and recreate a partition; takes 10 ms."""
        self.now += 5
        old = self.logs[log]
        self.former.append(old)
        self.epoch += 1
        self._create(log, old.kind)
        self.now += 5

    def recreate_topics(self, tag: bytes) -> None:
        """Delete and recreate all topics with a new tag."""
        self.tag = tag
        self.topics_recreated = True
        for log in list(self.logs):
            self.recreate(log)
