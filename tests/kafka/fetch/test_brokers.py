"""The reader against real Apache Kafka, in circumstances that a worker meets now and then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from gateway.core.records import Record, TopicPartition, UnreadableReason
from gateway.kafka.client.cluster import ClusterClient
from gateway.kafka.fetch.reader import FetchReader
from gateway.supervise import Part
from tests.brokers.cluster import Cluster, rack
from tests.brokers.kafka import KafkaNode
from tests.brokers.metadata import create_topics
from tests.eventually import eventually
from tests.programs import require

A, B = TopicPartition("events", 0), TopicPartition("events", 1)


class Follower:
    """A reader of some logs, and the records that it has read."""

    def __init__(self, client: ClusterClient) -> None:
        self.client = client
        self.values: dict[TopicPartition, list[bytes | None]] = {A: [], B: []}
        self.losses: list[TopicPartition] = []
        self.reader = FetchReader(client, self, self)

    def begin(self) -> None:
        for log in (A, B):
            self.reader.read(log, 0, self.client.topic_id(log.topic) or b"")

    async def deliver(self, fresh: dict[TopicPartition, list[Record]]) -> None:
        for log, records in fresh.items():
            self.values[log] += [record.value for record in records]

    def lost(self, log: TopicPartition) -> None:
        self.losses.append(log)

    def unproven(self, log: TopicPartition) -> None:
        pass

    def unknown_topic(self, log: TopicPartition) -> None:
        pass

    def stalled(self, log: TopicPartition, reason: str) -> None:
        pass

    def failed(self, part: Part, error: BaseException) -> None:
        raise AssertionError(part) from error

    def unreadable(self, log: TopicPartition, offset: int, reason: UnreadableReason) -> None:
        raise AssertionError((log, offset, reason))

    async def has(self, expected: list[bytes]) -> None:
        await eventually(
            "all is read",
            lambda: all(len(values) >= len(expected) for values in self.values.values()),
        )
        assert self.values == {A: expected, B: expected}
        assert self.losses == []

    def nodes(self) -> set[int]:
        """Return the brokers that partitions are read from."""
        partitions = self.reader.assignment.partitions.values()
        return {each.broker.node_id for each in partitions if each.broker is not None}


@asynccontextmanager
async def following(bootstrap: str, rack: str = "") -> AsyncIterator[Follower]:
    client = ClusterClient({"bootstrap_servers": bootstrap.split(",")}, rack)
    await client.start()
    await client.describe([A.topic])
    follower = Follower(client)
    reading = asyncio.create_task(follower.reader.run())
    try:
        follower.begin()
        yield follower
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await client.stop()


async def write(bootstrap: str, *values: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        for value in values:
            for log in (A, B):
                await producer.send_and_wait(log.topic, value, key=b"k", partition=log.partition)


async def test_sessions_are_evicted_and_idle_connections_closed_without_a_loss(
    tmp_path: Path,
) -> None:
    require("java", "mvn")
    properties = {
        "max.incremental.fetch.session.cache.slots": 1,
        "min.incremental.fetch.session.eviction.ms": 0,
        "connections.max.idle.ms": 1000,
    }
    async with KafkaNode(tmp_path, properties=properties) as node:
        await create_topics(node.bootstrap, [NewTopic(A.topic, 2, 1)])
        async with following(node.bootstrap) as one, following(node.bootstrap) as two:
            written = []
            for number in range(6):
                value = b"%d" % number
                await write(node.bootstrap, value)
                written.append(value)
                await asyncio.sleep(0.5)
            for follower in (one, two):
                await follower.has(written)


async def test_a_broker_that_freezes_and_one_that_restarts_cost_no_record(
    tmp_path: Path,
) -> None:
    require("java", "mvn")
    async with KafkaNode(tmp_path) as node:
        await create_topics(node.bootstrap, [NewTopic(A.topic, 2, 1)])
        async with following(node.bootstrap) as follower:
            await write(node.bootstrap, b"0")
            await follower.has([b"0"])
            node.freeze()
            await asyncio.sleep(8)
            node.thaw()
            await write(node.bootstrap, b"1")
            await follower.has([b"0", b"1"])
            node.end()
            await node.start()
            await write(node.bootstrap, b"2")
            await follower.has([b"0", b"1", b"2"])


async def test_a_follower_in_the_rack_is_read_and_replaced_when_it_dies(tmp_path: Path) -> None:
    require("java", "mvn")
    async with Cluster(tmp_path) as cluster:
        topic = NewTopic(A.topic, -1, -1, replica_assignments={0: [1, 2, 3], 1: [1, 3, 2]})
        await create_topics(cluster.bootstrap, [topic])
        await write(cluster.bootstrap, b"0")
        async with following(cluster.bootstrap, rack(3)) as follower:
            await follower.has([b"0"])
            await eventually("the follower is read", lambda: follower.nodes() == {3})
            await write(cluster.bootstrap, b"1")
            await follower.has([b"0", b"1"])
            cluster.nodes[3].kill()
            await write(cluster.bootstrap, b"2")
            await follower.has([b"0", b"1", b"2"])
            assert 3 not in follower.nodes()
