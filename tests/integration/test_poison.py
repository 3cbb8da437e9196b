"""Malformed records: each is skipped or refused, and delays no other record."""

from __future__ import annotations

import uuid

from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from gateway.core.records import TopicPartition
from tests.brokers.batches import batch, compressed, with_bad_header
from tests.brokers.metadata import create_topics
from tests.brokers.raw import write_batch
from tests.conftest import Broker, StartWorker
from tests.eventually import eventually
from tests.integration.conftest import OpenStream, SetUp
from tests.integration.poison import expect, follow, now, row, skipped, user_of
from tests.records import RecordWriter, Topics

PARTITIONS = 2
POISONED = 0
"""The partition that has the poison; the other partition has only valid records."""

MIB = 1 << 20


async def test_only_the_record_with_a_bad_header_is_passed_by(
    set_up: SetUp, broker: Broker, open_stream: OpenStream
) -> None:
    users = [user_of(partition, PARTITIONS) for partition in range(PARTITIONS)]
    user, neighbour = users
    stage = await set_up(PARTITIONS)
    live = await follow(open_stream, stage.worker, users)
    begin = [client.last_event_id for client in live]
    log = TopicPartition(stage.topics.user, POISONED)
    plain = with_bad_header(
        batch([row(user, 0), row(user, 1, ("the-name", b"")), row(user, 2)], timestamp=now()),
        "the-name",
    )

    await write_batch(broker.bootstrap, log, plain)
    await write_batch(broker.bootstrap, log, compressed(plain, "zstd"))
    await write_batch(
        broker.bootstrap,
        TopicPartition(stage.topics.user, 1),
        batch([row(neighbour, 9)], timestamp=now()),
    )

    await expect(live[:1], 0, 2, 0, 2)
    await expect(live[1:], 9)
    assert (
        await stage.worker.metric("gateway_unreadable_records_total", reason="header_not_utf8") >= 2
    )
    await eventually(
        "the first one is logged",
        lambda: (stage.topics.user, POISONED, 1, "header_not_utf8") in skipped(stage.worker),
    )

    replaying = await stage.start(tail_warm_seconds=0)
    resumed = await follow(open_stream, replaying, users, begin)
    await expect(resumed[:1], 0, 2, 0, 2)
    await expect(resumed[1:], 9)


async def test_a_record_that_is_too_large_is_refused_and_the_largest_arrives(
    broker: Broker, start_worker: StartWorker, open_stream: OpenStream
) -> None:
    name = uuid.uuid4().hex[:8]
    served = Topics(f"user-events-{name}", f"broadcast-events-{name}")
    configs = {"max.message.bytes": str(16 * MIB)}
    await create_topics(
        broker.bootstrap,
        [
            NewTopic(served.user, PARTITIONS, 1, topic_configs=configs),
            NewTopic(served.broadcast, 1, 1),
        ],
    )
    users = [user_of(partition, PARTITIONS) for partition in range(PARTITIONS)]
    user, neighbour = users
    worker = await start_worker(served, tail_bytes=4 * MIB)
    live = await follow(open_stream, worker, users)
    begin = [client.last_event_id for client in live]
    large = b'"' + b"x" * (MIB + 50_000) + b'"'
    async with AIOKafkaProducer(
        bootstrap_servers=broker.bootstrap, max_request_size=16 * MIB, enable_idempotence=False
    ) as producer:
        write = RecordWriter(producer, served)
        await write.event(user, data=b'"' + b"x" * (10 * MIB) + b'"')
        await write.event(user, headers=[(f"header-{number}", b"") for number in range(10_000)])
        await write.event(user, data=large)
        await write.event(user)
        await write.event(neighbour)

    for client, data in zip(live, ([large.decode(), "{}"], ["{}"]), strict=True):
        await client.wait_for(len(data))
        assert client.data == data
    await worker.wait_for_metric("gateway_unreadable_records_total", 2, reason="too_large")
    await eventually(
        "the first one is logged",
        lambda: (served.user, POISONED, 0, "too_large") in skipped(worker),
    )

    replaying = await start_worker(served, tail_warm_seconds=0)
    resumed = await follow(open_stream, replaying, users, begin)
    await resumed[0].wait_for(2)
    assert resumed[0].data == [large.decode(), "{}"]
    await replaying.wait_for_metric("gateway_unreadable_records_total", 2, reason="too_large")
