"""Simulated brokers, metadata and time, for tests of the reader."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest
from aiokafka.errors import KafkaConnectionError

from gateway import clock
from gateway.core.records import Moment, Record, TopicPartition, UnreadableReason
from gateway.kafka.client.cluster import ClusterClient
from gateway.kafka.client.connection import Answered
from gateway.kafka.client.metadata import Leader
from gateway.kafka.fetch.protocol import Limits
from gateway.kafka.fetch.reader import FetchReader
from gateway.supervise import Part
from tests.kafka.fetch.cluster import Cluster

NODES = (1, 2, 3)
TOPIC = "events"
A, B = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)


class SimulatedTime(selectors.DefaultSelector):
    """A selector that does not wait: it advances the loop's clock instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.now += timeout or 0.0
        return super().select(0)


class FakeConnection:
    """A connection to a simulated broker, which holds a fetch that finds nothing."""

    def __init__(self, world: World, node: int) -> None:
        self.world, self.node, self.closed = world, node, False
        self.versions = {1: (4, world.cluster.newest)}
        self.waiting: Answered | None = None

    def close(self) -> None:
        self.closed = True
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(KafkaConnectionError("closed"))

    async def request_is_out(self) -> None:
        for _ in range(1000):
            if self.waiting is not None and not self.waiting.done():
                return
            await asyncio.sleep(0.0005)
        raise AssertionError("nothing is asked")

    def request_for(
        self, answered: Answered, key: int, version: int, body: bytes, timeout: float
    ) -> None:
        loop = asyncio.get_running_loop()
        self.waiting = answered
        if self.closed:
            raise KafkaConnectionError("closed")

        def answer() -> None:
            if not answered.done() and self.node not in self.world.frozen:
                answered.set_result(self.world.cluster.answer(self.node, version, body))

        def give_up() -> None:
            if not answered.done():
                self.closed = True
                answered.set_exception(KafkaConnectionError("no answer"))

        loop.call_later(self.world.latency(), answer)
        loop.call_later(timeout, give_up)


class World:
    """Brokers, the client's metadata, and a listener that keeps the records read."""

    rack = "here"

    def __init__(
        self,
        newest: int = 17,
        partitions: int = 2,
        seed: int = 0,
        nodes: tuple[int, ...] = NODES,
        limits: Limits | None = None,
    ) -> None:
        self.chance = random.Random(seed)
        self.cluster = Cluster(newest)
        self.cluster.create(TOPIC, [nodes[n % len(nodes)] for n in range(partitions)])
        self.logs = [TopicPartition(TOPIC, number) for number in range(partitions)]
        self.known: dict[TopicPartition, Leader | None] = {}
        self.down: set[int] = set()
        self.frozen: set[int] = set()
        self.connections: list[FakeConnection] = []
        self.listeners: list[Callable[[], None]] = []
        self.read: dict[TopicPartition, list[tuple[int, bytes]]] = {log: [] for log in self.logs}
        self.losses: list[TopicPartition] = []
        self.unproven_logs: list[TopicPartition] = []
        self.strange: list[TopicPartition] = []
        self.stalls: list[TopicPartition] = []
        self.tells = True
        self.reader = FetchReader(cast("ClusterClient", self), self, self, limits=limits)
        self.learn()

    def latency(self) -> float:
        return self.chance.choice([0.001, 0.01, 0.1])

    # What the reader asks of the client.

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def leader(self, log: TopicPartition) -> Leader | None:
        return self.known.get(log)

    def request_refresh(self) -> None:
        asyncio.get_running_loop().call_later(0.2, self.learn)

    def learn(self) -> None:
        for log, partition in self.cluster.partitions.items():
            self.known[log] = Leader(partition.leader, partition.epoch)
        if self.tells:
            for listener in self.listeners:
                listener()

    async def connect(self, node: int) -> FakeConnection:
        await asyncio.sleep(self.latency())
        if node in self.down:
            raise KafkaConnectionError(f"broker {node} is down")
        connection = FakeConnection(self, node)
        self.connections.append(connection)
        return connection

    # What the reader calls.

    async def deliver(self, fresh: dict[TopicPartition, list[Record]]) -> None:
        for log, records in fresh.items():
            for record in records:
                assert record.value is not None
                self.read[log].append((record.offset, record.value))
        await asyncio.sleep(0)

    def lost(self, log: TopicPartition) -> None:
        """Continue at the end of the log, as the live reader does."""
        self.losses.append(log)
        self.begin(log, self.cluster.partitions[log].end)

    def unproven(self, log: TopicPartition) -> None:
        self.unproven_logs.append(log)

    def unknown_topic(self, log: TopicPartition) -> None:
        self.strange.append(log)

    def stalled(self, log: TopicPartition, reason: str) -> None:
        self.stalls.append(log)

    def failed(self, part: Part, error: BaseException) -> None:
        raise AssertionError(part) from error

    def unreadable(self, log: TopicPartition, offset: int, reason: UnreadableReason) -> None:
        raise AssertionError((log, offset, reason))

    # What the tests do.

    def begin(self, log: TopicPartition, offset: int = 0) -> None:
        self.reader.read(log, offset, self.cluster.ids[log.topic])

    def values(self, log: TopicPartition) -> list[bytes]:
        return [value for _, value in self.read[log]]

    def elect(self, log: TopicPartition, node: int) -> None:
        partition = self.cluster.partitions[log]
        partition.leader, partition.epoch = node, partition.epoch + 1


def simulate(
    world: World, play: Coroutine[Any, Any, None], monkeypatch: pytest.MonkeyPatch
) -> float:
    """Run a play while the reader reads; return how long it took, in simulated seconds."""
    selector = SimulatedTime()
    loop = asyncio.SelectorEventLoop(selector)
    monkeypatch.setattr(loop, "time", lambda: selector.now)
    monkeypatch.setattr(clock, "now", lambda: Moment(selector.now, int(selector.now * 1000)))

    async def run() -> None:
        reading = asyncio.create_task(world.reader.run())
        playing = asyncio.create_task(play)
        await asyncio.wait([reading, playing], return_when=asyncio.FIRST_COMPLETED)
        if reading.done():  # the reader stops only on cancellation
            await reading
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await playing

    try:
        loop.run_until_complete(run())
    finally:
        loop.close()
    return selector.now
