"""Fixture for core tests: one worker, one user partition, one broadcast partition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.core.event_id import CursorEntry, encode
from gateway.core.feed import PartitionFeed
from gateway.core.gap import CloseReason, GapReason
from gateway.core.records import LogKind, Position, TopicPartition
from gateway.core.registry import Registry
from gateway.core.request import StreamRequest
from gateway.core.stream import Sink, Stream
from tests.core.clients import Client
from tests.core.judge import judge
from tests.core.network import Connection
from tests.core.workers import Worker
from tests.core.world import BROADCAST_TOPIC, DATA, USER_TOPIC, KafkaLog, Setup, World

USER = b"a"
USER_LOG = TopicPartition(USER_TOPIC, 0)
BROADCAST_LOG = TopicPartition(BROADCAST_TOPIC, 0)


Told = tuple[GapReason, int | None, int | None]
"""A gap that a client received: its reason, and its first and next offset."""


class Stage:
    """A world with one worker; each record advances the time by 10 ms."""

    def __init__(self, **setup: Any) -> None:
        self.world = World(Setup(**setup), Registry.built_in())
        self.worker = Worker(self.world)

    @property
    def kafka(self) -> KafkaLog:
        return self.world.logs[USER_LOG]

    @property
    def feed(self) -> PartitionFeed:
        """The feed of the user partition."""
        return self.worker.hub.feeds[USER_LOG]

    def write(
        self,
        count: int = 1,
        key: bytes | None = USER,
        *,
        log: TopicPartition = USER_LOG,
        hole: int = 0,
        event_type: str | None = DATA,
    ) -> list[int | None]:
        """Write records; return the numbers of their events."""
        numbers = []
        for _ in range(count):
            self.world.now += 10
            numbers.append(self.world.write(log, key, hole=hole, event_type=event_type).number)
        return numbers

    def broadcast(self, count: int = 1) -> list[int | None]:
        return self.write(count, None, log=BROADCAST_LOG)

    def client(self, **options: Any) -> Client:
        return Client(self.world, **{"user": USER, **options})

    def connect(self, client: Client, **options: Any) -> Connection:
        """Connect, and run the worker until it is idle."""
        connection = client.connect(self.worker, **options)
        self.worker.settle()
        return connection

    def open(
        self,
        sink: Sink,
        request: StreamRequest | None = None,
        deadlines: Sequence[tuple[float, CloseReason]] = (),
    ) -> Stream:
        """Open a stream without a client, with the partitions as they are."""
        request, moment = request or StreamRequest(USER), self.world.moment
        feeds = self.worker.routes.feeds(request, moment)
        return self.worker.hub.open(request, feeds, sink, deadlines, moment)

    def reconnect(self, client: Client, **options: Any) -> Connection:
        if client.connection is not None:
            connection = client.connection
            connection.drop(1 << 30)
            connection.lost()
        return self.connect(client, **options)

    def replace_worker(self) -> None:
        """Replace the worker by one with empty memory."""
        self.worker = Worker(self.world)

    def judged(self, client: Client) -> None:
        judge(client)


def away(stage: Stage) -> None:
    """Connect another user of the partition, so that its tail stays."""
    stage.connect(stage.client(user=b"c"))


def tolerant_stage() -> Stage:
    """Return a stage whose worker contains exceptions, with its partitions read."""
    stage = Stage(heartbeat=1)
    stage.worker.open_logs()
    stage.worker.settle()
    stage.worker.faults.tolerant = True
    return stage


def stream_of(connection: Connection) -> Stream:
    assert connection.stream is not None
    return connection.stream


def user_id(position: Position, *, tag: bytes = b"tagA", partition: int = 0) -> str:
    """Return an id with one entry, for the user topic."""
    return encode([CursorEntry(LogKind.USER, tag, partition, position)]).decode()


def log_of_ten(**setup: int) -> Stage:
    """Return a stage with ten events at offsets 10 to 19, every 10 ms from 1,000,010 on."""
    stage = Stage(broadcast=False, **setup)
    stage.write(1, hole=10)
    stage.write(9)
    stage.kafka.start = 10
    stage.world.now += 5
    return stage


EXPIRED = [(GapReason.EXPIRED, 3, 10)]
"""The gap of a client of `log_of_ten` that resumes from offset 3."""


def told(client: Client) -> list[Told]:
    return [(gap.reason, gap.first, gap.next) for gap in client.gaps]
