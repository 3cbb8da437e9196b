"""Events whose batch a broker rejects, on a real Kafka."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.producer.transaction_manager import PidAndEpoch

from gateway.errors import PublishError
from gateway.kafka.topics import TopicSpec, create
from gateway.publisher import EventPublisher
from tests.brokers.authority import Authority
from tests.brokers.secure import PASSWORD, USER, Listener, Operation, SecureNode
from tests.commands.command import gateway
from tests.conftest import Broker
from tests.eventually import eventually
from tests.kafka.publisher_bench import BIG, Bench, administrating, bench, only_kafka
from tests.programs import require


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
async def test_a_recreated_topic_gets_each_event_once(broker: Broker) -> None:
    async with bench(broker, timeout=6.0) as made:
        for number in range(3):
            await made.publish(number)
        async with administrating(broker.bootstrap) as admin:
            await admin.delete_topics([made.topic])
            for _ in range(2):
                reason = (
                    f"the topic {made.topic} does not exist|its partition does not exist any more"
                )
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
