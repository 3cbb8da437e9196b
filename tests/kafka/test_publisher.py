from __future__ import annotations

import asyncio
import json
import logging
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from gateway.config import Settings
from gateway.core.partitioner import partitioner
from gateway.core.registry import Registry
from gateway.demo.broker import EmbeddedBroker
from gateway.errors import PublishError
from gateway.kafka.client import produce
from gateway.kafka.client.connection import Connection
from gateway.kafka.client.requests import Api, ask
from gateway.kafka.topics import TopicSpec, create
from gateway.publisher import WINDOW, EventPublisher
from tests.child import free_port
from tests.conftest import PARTITIONS, Broker, MakeTopics
from tests.eventually import DEADLINE
from tests.records import Topics


async def records_of(broker: Broker, topic: str, partitions: int) -> list[ConsumerRecord]:
    """Return all records of the topic, partition after partition."""
    logs = [TopicPartition(topic, number) for number in range(partitions)]
    found = []
    async with AIOKafkaConsumer(
        bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
    ) as consumer:
        consumer.assign(logs)
        ends = await consumer.end_offsets(logs)
        for log in logs:
            while await consumer.position(log) < ends[log]:
                found += (await consumer.getmany(log, timeout_ms=500)).get(log, [])
    return found


@asynccontextmanager
async def publishing(
    broker: Broker,
    topics: Topics,
    on_error: Literal["raise", "drop"] = "raise",
    **options: Any,
) -> AsyncIterator[EventPublisher]:
    async with EventPublisher(
        broker.bootstrap,
        topic=topics.user,
        broadcast_topic=topics.broadcast,
        on_error=on_error,
        **options,
    ) as publisher:
        yield publisher


async def test_an_event_is_in_kafka_when_publish_returns(
    broker: Broker, topics: MakeTopics
) -> None:
    made = await topics()
    async with publishing(broker, made) as publisher:
        event_id = await publisher.publish("zoë", "import.started", {"rows": 1}, category="ai")
        [record] = await records_of(broker, made.user, PARTITIONS)
    assert record.key == "zoë".encode()
    assert record.headers == (("category", b"ai"),)
    assert json.loads(record.value)["event_id"] == event_id


@pytest.mark.parametrize("name", ["murmur2", "crc32"])
async def test_a_user_goes_to_the_partition_of_the_partitioner(
    broker: Broker, topics: MakeTopics, name: Literal["murmur2", "crc32"]
) -> None:
    made = await topics()
    users = [f"user-{number}" for number in range(50)]
    async with publishing(broker, made, partitioner=name) as publisher:
        assert await publisher.publish_to_users(users, "import.started", {}) == len(users)
    records = await records_of(broker, made.user, PARTITIONS)
    assert sorted(record.key.decode() for record in records) == sorted(users)
    for record in records:
        assert record.partition == partitioner(name)(record.key, PARTITIONS)


async def test_submitted_events_keep_their_order(broker: Broker, topics: MakeTopics) -> None:
    made = await topics(1)
    async with publishing(broker, made, max_batch_size=500) as publisher:
        deliveries = [await publisher.submit("alice", "import.progress", n) for n in range(500)]
        for delivery in deliveries:
            assert await delivery is not None
    records = await records_of(broker, made.user, 1)
    assert [json.loads(record.value)["data"] for record in records] == list(range(500))


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_compressed_batches_are_read_by_others(
    broker: Broker, topics: MakeTopics, codec: str
) -> None:
    made = await topics(1)
    users = ["alice"] * 50
    async with publishing(broker, made, compression_type=codec) as publisher:
        assert await publisher.publish_to_users(users, "import.started", {}) == len(users)
    assert len(await records_of(broker, made.user, 1)) == len(users)


async def test_linger_gathers_events_in_one_request(
    broker: Broker, topics: MakeTopics, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = 0

    async def counting(connection: Connection, api: Api, *rest: Any) -> Any:
        nonlocal sent
        sent += api is produce.PRODUCE
        return await ask(connection, api, *rest)

    monkeypatch.setattr(produce, "ask", counting)
    made = await topics(1)
    async with publishing(broker, made, linger_ms=1000) as publisher:
        await publisher.publish("alice", "import.progress", -1)  # connects
        deliveries = []
        for number in range(5):
            deliveries.append(await publisher.submit("alice", "import.progress", number))
            await asyncio.sleep(0.001)
        for delivery in deliveries:
            assert await delivery is not None
    assert sent == 2


def test_unknown_options_are_rejected_by_name() -> None:
    with pytest.raises(TypeError, match=r"unknown options retries; known: compression_type"):
        EventPublisher("127.0.0.1:9092", retries=3)
    with pytest.raises(ValueError, match="compression_type must be one of None, gzip"):
        EventPublisher("127.0.0.1:9092", compression_type="brotli")


async def test_event_for_many_users_gets_a_unique_id_per_user(
    broker: Broker, topics: MakeTopics
) -> None:
    made = await topics()
    users = [f"user-{number}" for number in range(2 * WINDOW + 1)]
    async with publishing(broker, made) as publisher:
        assert await publisher.publish_to_users(users, "import.started", {}) == len(users)
    records = await records_of(broker, made.user, PARTITIONS)
    assert len({json.loads(record.value)["event_id"] for record in records}) == len(users)


async def test_a_broadcast_is_in_the_partition_that_is_read(
    broker: Broker, topics: MakeTopics
) -> None:
    made = await topics()
    async with publishing(broker, made._replace(broadcast=made.user)) as publisher:
        for _ in range(20):
            assert await publisher.broadcast("maintenance.planned", {}) is not None
    records = await records_of(broker, made.user, PARTITIONS)
    assert [record.partition for record in records] == [0] * 20


async def test_a_bad_event_raises_before_anything_is_sent(
    broker: Broker, topics: MakeTopics
) -> None:
    made = await topics()
    async with publishing(broker, made) as publisher:
        with pytest.raises(PublishError, match="NaN"):
            await publisher.publish("alice", "import.started", float("nan"))
        with pytest.raises(PublishError, match="0 of 2 events were written: the user id"):
            await publisher.publish_to_users(["alice", ""], "import.started", {})
        with pytest.raises(PublishError, match="max_request_size"):
            await publisher.publish("alice", "import.started", "x" * 2_000_000)
    assert await records_of(broker, made.user, PARTITIONS) == []


async def test_a_bad_event_is_dropped_and_counted(
    broker: Broker,
    topics: MakeTopics,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.publisher.publisher._DROP_LOG_SECONDS", DEADLINE)
    made = await topics()
    async with publishing(broker, made, "drop") as publisher:
        assert await publisher.publish("", "import.started", {}) is None
        assert await publisher.publish("alice", "stream.gap", {}) is None
        assert await publisher.broadcast("import.started", object()) is None
        assert await publisher.publish_to_users(["alice", "bob", ""], "import.started", {}) == 0
        assert publisher.dropped == 6
        assert await publisher.publish("alice", "import.started", {}) is not None
    assert len(await records_of(broker, made.user, PARTITIONS)) == 1
    assert caplog.text.count("events dropped") == 1


async def test_a_missing_topic_is_not_created(broker: Broker) -> None:
    name = f"missing-{uuid.uuid4().hex[:8]}"
    async with EventPublisher(broker.bootstrap, topic=name) as publisher:
        for _ in range(2):
            with pytest.raises(PublishError, match=f"--create --topic {name} --partitions 12"):
                await publisher.publish("alice", "import.started", {})


async def test_topic_created_later_is_found(broker: Broker, topics: MakeTopics) -> None:
    made = await topics()
    missing = f"missing-{uuid.uuid4().hex[:8]}"
    async with publishing(broker, made._replace(broadcast=missing)) as publisher:
        with pytest.raises(PublishError, match=r"--partitions 1$"):
            await publisher.broadcast("import.started", {})
        assert await publisher.publish("alice", "import.started", {}) is not None


async def test_an_unknown_type_is_warned_of_once(
    broker: Broker, topics: MakeTopics, caplog: pytest.LogCaptureFixture
) -> None:
    made = await topics()
    async with publishing(broker, made, registry=Registry.built_in()) as publisher:
        for _ in range(3):
            await publisher.publish("alice", "unheard.of", {})
            await publisher.publish("alice", "import.started", {})
    assert caplog.text.count("'unheard.of' is in no category") == 1
    assert "import.started" not in caplog.text


async def test_publisher_is_idempotent_if_the_broker_supports_it(
    broker: Broker, topics: MakeTopics, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway")
    async with publishing(broker, await topics()):
        pass
    assert ("no idempotent writes" in caplog.text) == (broker.kind == "embedded")


async def test_it_writes_where_a_gateway_with_the_same_settings_reads(
    broker: Broker, topics: MakeTopics
) -> None:
    made = await topics()
    settings = Settings(
        kafka_bootstrap=(broker.bootstrap,), topic=made.user, broadcast_topic="", jwt_secret=None
    )
    async with EventPublisher.from_settings(settings) as publisher:
        await publisher.publish("alice", "import.started", {})
        with pytest.raises(PublishError, match="switched off"):
            await publisher.broadcast("import.started", {})
    assert len(await records_of(broker, made.user, PARTITIONS)) == 1


async def test_what_it_revokes_and_lifts_is_in_the_compacted_topic(
    broker: Broker, topics: MakeTopics
) -> None:
    made = await topics(revocations=1)
    settings = Settings(
        kafka_bootstrap=(broker.bootstrap,),
        topic=made.user,
        revocations_topic=made.revocations,
        revocation_seconds=60,
        jwt_secret=None,
    )
    before = datetime.now(UTC)
    async with EventPublisher.from_settings(settings) as publisher:
        await publisher.revoke_session("zoë", "s1")
        await publisher.revoke_user("zoë", expires_at=before + timedelta(hours=1))
        await publisher.lift_session("s1")
        await publisher.lift_user("zoë")
    records = await records_of(broker, made.revocations, 1)
    keys = [b"session:s1", "user:zoë".encode()]
    assert [record.key for record in records] == keys * 2
    assert [record.value for record in records[2:]] == [None, None]
    session, user = (json.loads(record.value) for record in records[:2])
    now = datetime.now(UTC)
    for value in (session, user):
        assert value["user_id"] == "zoë"
        assert int(before.timestamp() * 1000) <= value["revoked_at"] <= now.timestamp() * 1000
    assert session["expires_at"] - session["revoked_at"] == 60_000
    assert user["expires_at"] == int((before + timedelta(hours=1)).timestamp() * 1000)


@pytest.mark.parametrize("on_error", ["raise", "drop"])
async def test_a_revocation_that_cannot_be_written_is_never_dropped(
    on_error: Literal["raise", "drop"],
) -> None:
    now = datetime.now(UTC)
    publisher = EventPublisher(f"127.0.0.1:{free_port()}", on_error=on_error)
    with pytest.raises(PublishError, match="no Kafka broker answers"):
        await publisher.revoke_session("alice", "s1")
    with pytest.raises(PublishError, match="the user id"):
        await publisher.revoke_user("")
    for session in ("", "\ud800"):
        with pytest.raises(PublishError, match="the session id"):
            await publisher.revoke_session("alice", session)
    with pytest.raises(PublishError, match="time zone"):
        await publisher.revoke_user("alice", expires_at=now.replace(tzinfo=None))
    with pytest.raises(PublishError, match="in the past"):
        await publisher.revoke_user("alice", expires_at=now)
    assert publisher.dropped == 0
    off = EventPublisher("127.0.0.1:9", revocations_topic="", on_error=on_error)
    with pytest.raises(PublishError, match="switched off"):
        await off.lift_user("alice")


async def test_a_broker_that_is_away_is_an_error() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(PublishError, match=f"no Kafka broker answers at {address}"):
        async with EventPublisher(address):
            pass


async def test_service_starts_and_keeps_running_without_kafka() -> None:
    async with EventPublisher(f"127.0.0.1:{free_port()}", on_error="drop") as publisher:
        assert publisher.dropped == 0
        assert await publisher.publish("alice", "import.started", {}) is None
        assert await publisher.publish_to_users(["alice", "bob"], "import.started", {}) == 0
        assert publisher.dropped == 3


async def test_stopped_broker_costs_no_more_than_the_timeout() -> None:
    async with EmbeddedBroker() as broker:
        await create({"bootstrap_servers": [broker.bootstrap]}, [TopicSpec("user-events", 4)])
        publisher = EventPublisher(broker.bootstrap, timeout=6.0)
        await publisher.__aenter__()
        await publisher.publish("alice", "import.started", {})
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(PublishError, match="Kafka"):
            await publisher.publish("alice", "import.started", {})
        with pytest.raises(PublishError, match="0 of 100 events were written"):
            await publisher.publish_to_users(["alice"] * 100, "import.started", {})
        await publisher.__aexit__(None, None, None)


async def test_a_broker_that_does_not_answer_costs_no_more_than_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        async with asyncio.timeout(DEADLINE):
            with pytest.raises(PublishError, match=f"no Kafka broker answers at {address}"):
                async with EventPublisher(address, timeout=0.2):
                    pass
