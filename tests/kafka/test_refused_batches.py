"""What becomes of events whose batch is refused or lost, on a real Kafka."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError
from aiokafka.producer.transaction_manager import PidAndEpoch

from gateway.core.partitioner import partitioner
from gateway.errors import PublishError
from gateway.kafka.client import metadata, produce
from gateway.kafka.client.connection import Connection
from gateway.kafka.client.metadata import METADATA
from gateway.kafka.client.produce import PRODUCE
from gateway.kafka.client.requests import Api, ask
from gateway.kafka.topics import TopicSpec, create
from gateway.publisher import EventPublisher
from tests.brokers.authority import Authority
from tests.brokers.cluster import Cluster
from tests.brokers.kafka import KafkaNode
from tests.brokers.secure import PASSWORD, USER, Listener, Operation, SecureNode
from tests.commands.command import gateway
from tests.conftest import Broker
from tests.eventually import eventually
from tests.kafka.test_publisher import records_of
from tests.programs import require

only_kafka = pytest.mark.parametrize("broker", ["kafka"], indirect=True, scope="session")

BIG = "x" * 50_000


class Bench:
    """A topic with one partition, and a publisher that writes to it."""

    def __init__(self, broker: Broker, publisher: EventPublisher, topic: str) -> None:
        self.broker = broker
        self.publisher = publisher
        self.topic = topic

    async def publish(self, data: object) -> str | None:
        return await self.publisher.publish("alice", "import.progress", data)

    async def attempt(self, data: object) -> str | PublishError | None:
        try:
            return await self.publish(data)
        except PublishError as error:
            return error

    async def written(self) -> list[Any]:
        """Return the data of all events in the topic, in order."""
        records = await records_of(self.broker, self.topic, 1)
        return [json.loads(record.value)["data"] for record in records]

    async def configure(self, **configs: str) -> None:
        async with administrating(self.broker.bootstrap) as admin:
            named = {name.replace("_", "."): value for name, value in configs.items()}
            resource = ConfigResource(ConfigResourceType.TOPIC, self.topic, configs=named)
            await admin.alter_configs([resource])

    @property
    def producer_id(self) -> int:
        connection = self.publisher._producer._connection  # noqa: SLF001
        assert connection is not None
        producer = connection[1]._producer  # noqa: SLF001
        assert producer is not None
        return producer.id


@asynccontextmanager
async def administrating(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


@asynccontextmanager
async def bench(
    broker: Broker, configs: dict[str, str] | None = None, **options: Any
) -> AsyncIterator[Bench]:
    topic = f"refused-{uuid.uuid4().hex[:8]}"
    async with administrating(broker.bootstrap) as admin:
        await admin.create_topics([NewTopic(topic, 1, 1, topic_configs=configs)])
    async with EventPublisher(broker.bootstrap, topic=topic, **options) as publisher:
        yield Bench(broker, publisher, topic)


@only_kafka
async def test_a_refused_event_costs_no_other_event_of_its_partition(broker: Broker) -> None:
    async with bench(broker, {"max.message.bytes": "20000"}) as made:
        await made.publish(0)
        first = made.producer_id
        for number in range(1, 4):
            with pytest.raises(PublishError, match="too large") as refused:
                await made.publish(BIG)
            assert not refused.value.may_be_written
            await made.publish(number)
        assert await made.written() == [0, 1, 2, 3]
        assert made.producer_id == first


@only_kafka
async def test_events_under_way_beside_a_refused_one_are_written_once_and_in_order(
    broker: Broker,
) -> None:
    async with bench(broker, {"max.message.bytes": "20000"}) as made:
        payloads: list[Any] = [BIG if number % 50 == 25 else number for number in range(500)]
        deliveries = [
            await made.publisher.submit("alice", "import.progress", payload) for payload in payloads
        ]
        results = await asyncio.gather(*map(_settled, deliveries), return_exceptions=True)
        failed = [result for result in results if isinstance(result, PublishError)]
        assert len(failed) == 10
        assert not any(error.may_be_written for error in failed)
        assert await made.written() == [payload for payload in payloads if payload != BIG]


@only_kafka
async def test_a_batch_that_is_too_large_is_split_until_only_the_event_that_is_fails(
    broker: Broker,
) -> None:
    async with bench(broker, {"max.message.bytes": "1000"}) as made:
        payloads: list[Any] = [*range(40), "x" * 2000, *range(40, 80)]
        deliveries = [
            await made.publisher.submit("alice", "import.progress", payload) for payload in payloads
        ]
        results = await asyncio.gather(*map(_settled, deliveries), return_exceptions=True)
        failed = [number for number, result in enumerate(results) if isinstance(result, Exception)]
        assert failed == [40]
        assert await made.written() == list(range(80))


async def _settled(delivery: Any) -> str | None:
    settled: str | None = await delivery
    return settled


@only_kafka
async def test_refused_timestamp_is_reported_and_the_partition_keeps_accepting_events(
    broker: Broker,
) -> None:
    async with bench(broker, {"message.timestamp.before.max.ms": "0"}) as made:
        # One that arrives within its own millisecond is accepted.
        results = [await made.attempt(-number) for number in range(20)]
        failed = [result for result in results if isinstance(result, PublishError)]
        assert failed
        assert all("timestamp" in str(error) for error in failed)
        assert not any(error.may_be_written for error in failed)
        await made.configure(message_timestamp_before_max_ms="9223372036854775807")
        before = await made.written()
        await made.publish(1)
        assert await made.written() == [*before, 1]


@only_kafka
async def test_an_event_refused_for_its_number_is_sent_again_under_a_new_producer_id(
    broker: Broker,
) -> None:
    async with bench(broker) as made:
        await made.publish(0)
        first = made.producer_id
        for epoch in (0, 1):  # its numbers are used up by another; then it is fenced
            await _write_as(made, made.producer_id, epoch)
            await made.publish(epoch + 1)
            assert made.producer_id != first
            first = made.producer_id
        others = [None] * 7
        assert await made.written() == [0, *others, 1, *others, 2]


async def _write_as(made: Bench, producer_id: int, epoch: int) -> None:
    """Write seven records under a producer id of the publisher's."""
    async with AIOKafkaProducer(
        bootstrap_servers=made.broker.bootstrap, enable_idempotence=True, linger_ms=50
    ) as other:
        numbers = other._txn_manager  # noqa: SLF001
        numbers._pid_and_epoch = PidAndEpoch(producer_id, epoch)  # noqa: SLF001
        if epoch == 0:
            numbers.increment_sequence_number(TopicPartition(made.topic, 0), 1)
        sent = [await other.send(made.topic, b'{"data":null}', b"bob") for _ in range(7)]
        await asyncio.gather(*sent)


@only_kafka
async def test_an_event_whose_answer_is_lost_is_written_once(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(broker) as made:
        await made.publish(0)
        lost = _lose_answers(monkeypatch, 3)
        await made.publish(1)
        assert lost == [1, 1, 1]
        await made.publish(2)
        assert await made.written() == [0, 1, 2]


@only_kafka
async def test_event_in_doubt_is_reported_and_the_partition_keeps_accepting_events(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(broker) as made:
        await made.publish(0)
        first = made.producer_id

        async def shrink() -> None:
            await made.configure(max_message_bytes="1000")

        _lose_answers(monkeypatch, 1, shrink)
        with pytest.raises(PublishError, match="may have been written") as doubtful:
            await made.publish("x" * 2000)
        assert doubtful.value.may_be_written
        await made.publish(1)
        assert await made.written() == [0, "x" * 2000, 1]
        assert made.producer_id != first


def _lose_answers(monkeypatch: pytest.MonkeyPatch, times: int, then: Any = None) -> list[int]:
    """Lose the answers to the next produce requests, after the broker has written them."""
    lost: list[int] = []

    async def losing(connection: Connection, api: Api, *rest: Any) -> Any:
        answer = await ask(connection, api, *rest)
        if api is PRODUCE and len(lost) < times:
            lost.append(1)
            if then is not None:
                await then()
            raise KafkaConnectionError("the answer was lost")
        return answer

    monkeypatch.setattr(produce, "ask", losing)
    return lost


@only_kafka
async def test_a_recreated_topic_gets_each_event_once(broker: Broker) -> None:
    async with bench(broker, timeout=3.0) as made:
        for number in range(3):
            await made.publish(number)
        async with administrating(broker.bootstrap) as admin:
            await admin.delete_topics([made.topic])
            for _ in range(2):
                reason = f"there is no topic {made.topic}|its partition does not exist any more"
                with pytest.raises(PublishError, match=reason) as refused:
                    await made.publish("late")
                assert not refused.value.may_be_written
            await admin.create_topics([NewTopic(made.topic, 1, 1)])
        await eventually("the topic is there", lambda: _listed(broker, made.topic))
        for number in range(3, 6):
            await made.publish(number)
        assert await made.written() == [3, 4, 5]


async def _listed(broker: Broker, topic: str) -> bool:
    async with administrating(broker.bootstrap) as admin:
        return topic in await admin.list_topics()


async def test_a_right_that_is_taken_away_and_given_back(tmp_path: Path) -> None:
    require("java", "mvn", "openssl")
    async with SecureNode(tmp_path, Authority(tmp_path)) as node:
        await create({"bootstrap_servers": [node.bootstrap]}, [TopicSpec("user-events")])
        async with EventPublisher(
            node.address(Listener.PLAIN),
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="PLAIN",
            sasl_plain_username=USER,
            sasl_plain_password=PASSWORD,
        ) as publisher:
            await publisher.publish("alice", "import.progress", 0)
            await node.allow("user-events", "User:another", Operation.WRITE)
            await node.allow("user-events", f"User:{USER}", Operation.DESCRIBE)
            with pytest.raises(PublishError, match="no right Write on topic user-events"):
                await publisher.publish("alice", "import.progress", 1)
            await node.allow("user-events", f"User:{USER}", Operation.WRITE)
            await publisher.publish("alice", "import.progress", 2)


async def test_a_frozen_broker_leaves_events_in_doubt_and_writes_none_twice(
    tmp_path: Path,
) -> None:
    require("java", "mvn")
    async with KafkaNode(tmp_path) as node:
        options = {"bootstrap_servers": [node.bootstrap]}
        await create(options, [TopicSpec("user-events")])
        async with EventPublisher(node.bootstrap, timeout=3.0) as publisher:

            async def published(number: int) -> bool:
                try:
                    return await publisher.publish("alice", "import.progress", number) is not None
                except PublishError:
                    return False

            await eventually("the topic has a leader", partial(published, 0))
            node.freeze()
            try:
                with pytest.raises(PublishError, match="may still be written") as doubtful:
                    await publisher.publish("alice", "import.progress", 1)
            finally:
                node.thaw()
            assert doubtful.value.may_be_written
            await eventually("an event is published again", partial(published, 2))
            records = await records_of(Broker("kafka", node.bootstrap), "user-events", 1)
            data = [json.loads(record.value)["data"] for record in records]
            assert data[0] == 0
            assert data.count(1) <= 1


async def test_a_partition_without_a_leader_costs_nothing_and_delays_no_other(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    async def counting(connection: Connection, api: Api, *rest: Any) -> Any:
        nonlocal asked
        asked += api is METADATA
        return await ask(connection, api, *rest)

    topic = f"leaderless-{uuid.uuid4().hex[:8]}"
    async with administrating(cluster.bootstrap) as admin:
        placed = NewTopic(topic, -1, -1, replica_assignments={0: [1], 1: [2]})
        await admin.create_topics([placed])
    for partition, node in enumerate((1, 2)):
        await cluster.wait_until_led_by(node, topic, partition)
    async with EventPublisher(cluster.bootstrap, topic=topic, timeout=8.0) as publisher:
        users: dict[int, str] = {}
        for user in (f"user-{number}" for number in range(20)):
            users.setdefault(partitioner("murmur2")(user.encode(), 2), user)
        for user in users.values():
            await publisher.publish(user, "import.progress", 0)
        cluster.kill(1)
        monkeypatch.setattr(metadata, "ask", counting)
        waiting = asyncio.create_task(publisher.publish(users[0], "import.progress", 1))
        for number in range(10):
            await publisher.publish(users[1], "import.progress", number)
            await asyncio.sleep(0.2)
        assert not waiting.done()
        assert asked < 30
        with pytest.raises(PublishError):
            await waiting
        await cluster.start(1)
        await cluster.wait_until_led_by(1, topic, 0)

        async def published() -> bool:
            try:
                return await publisher.publish(users[0], "import.progress", 2) is not None
            except PublishError:
                return False

        await eventually("an event is published again", published)


@only_kafka
async def test_gateway_publish_writes_the_lines_beside_one_that_is_refused(
    broker: Broker,
) -> None:
    async with bench(broker, {"max.message.bytes": "20000"}) as made:
        lines = [
            json.dumps({"user_id": "alice", "event_type": "import.progress", "data": data})
            for data in (1, BIG, 2, 3)
        ]
        finished = await gateway(
            "publish",
            settings={"kafka_bootstrap": broker.bootstrap, "topic": made.topic},
            stdin="\n".join(lines).encode(),
        )
        assert finished.code == 1
        assert "line 2: the event is too large" in finished.err
        assert await made.written() == [1, 2, 3]
