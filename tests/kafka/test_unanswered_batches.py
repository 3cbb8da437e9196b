"""Batches of the publisher that get no answer, or get it late."""

from __future__ import annotations

import asyncio
import json
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaConnectionError

from gateway.core.partitioner import partitioner
from gateway.errors import PublishError
from gateway.kafka.client import metadata, produce
from gateway.kafka.client.connection import Connection
from gateway.kafka.client.metadata import METADATA
from gateway.kafka.client.produce import PRODUCE
from gateway.kafka.client.requests import Api, ask
from gateway.kafka.topics import TopicSpec, create
from gateway.publisher import EventPublisher
from tests.brokers.cluster import Cluster
from tests.brokers.kafka import KafkaNode
from tests.conftest import Broker
from tests.eventually import eventually
from tests.kafka.publisher_bench import administrating, bench, only_kafka
from tests.kafka.test_publisher import records_of
from tests.programs import require


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
    async with EventPublisher(cluster.bootstrap, topic=topic, timeout=20.0) as publisher:
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
