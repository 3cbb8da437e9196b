"""What Kafka does to records on their way: transactions, and compaction."""

from __future__ import annotations

import uuid

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic

from tests.brokers.metadata import create_topics
from tests.conftest import Broker, StartWorker
from tests.eventually import eventually
from tests.integration.conftest import OpenStream, SetUp, new_user
from tests.integration.poison import expect, follow, user_of
from tests.records import RecordWriter, Topics, envelope, number_of, numbered


@pytest.mark.parametrize("broker", ["kafka"], indirect=True, scope="session")
@pytest.mark.parametrize("tail_bytes", [1_000_000, 1_000], ids=["memory", "replay"])
async def test_only_committed_events_arrive_live_and_resumed(
    set_up: SetUp, broker: Broker, user: str, tail_bytes: int
) -> None:
    stage = await set_up(1, tail_bytes=tail_bytes, tail_warm_seconds=0)
    client = await stage.open(user)
    begin = client.last_event_id
    async with AIOKafkaProducer(
        bootstrap_servers=broker.bootstrap, transactional_id=user
    ) as producer:
        for number in range(10):
            await producer.begin_transaction()
            await producer.send(
                stage.topics.user, envelope(user, data=numbered(number)), key=user.encode()
            )
            if number % 2:
                await producer.abort_transaction()
            else:
                await producer.commit_transaction()

    await client.wait_for(5)
    assert client.numbers == [0, 2, 4, 6, 8]
    for event_id in (begin, *(event.last_event_id for event in client.events[:-1])):
        again = await stage.open(user, headers={"Last-Event-ID": event_id})
        await again.wait_for(lambda client: client.data and client.numbers[-1] == 8)
        assert again.own("gap") == []
        assert again.numbers == [n for n in client.numbers if n in again.numbers]
        await again.drop()
    assert again.numbers == [8]


@pytest.mark.parametrize("broker", ["kafka"], indirect=True, scope="session")
@pytest.mark.parametrize("outcome", ["commit", "abort"])
async def test_an_open_transaction_holds_back_what_kafka_holds_back_and_nothing_else(
    set_up: SetUp, broker: Broker, open_stream: OpenStream, outcome: str
) -> None:
    stage = await set_up(2)
    writer, behind, elsewhere = user_of(0, 2), user_of(0, 2), user_of(1, 2)
    users = [writer, behind, elsewhere]
    clients = await follow(open_stream, stage.worker, users)
    ids = [client.last_event_id for client in clients]
    async with AIOKafkaProducer(
        bootstrap_servers=broker.bootstrap, transactional_id=writer
    ) as transactional:
        await transactional.begin_transaction()
        for number in range(3):
            await transactional.send_and_wait(
                stage.topics.user, envelope(writer, data=numbered(number)), key=writer.encode()
            )
        await stage.write.numbered(behind, range(3))
        await stage.write.numbered(elsewhere, range(3))

        replaying = await stage.start(tail_warm_seconds=0)
        returned = await follow(open_stream, replaying, users, ids)
        for group in (clients, returned):
            await expect(group[2:], 0, 1, 2)
            await expect(group[:2])
        if outcome == "commit":
            await transactional.commit_transaction()
        else:
            await transactional.abort_transaction()

    committed = [0, 1, 2] if outcome == "commit" else []
    for group in (clients, returned):
        await expect(group[1:], 0, 1, 2)
        await expect(group[:1], *committed)
    # A marker stands at the end of the log now, and nothing behind it.
    late = await stage.start(tail_warm_seconds=0)
    again = await follow(open_stream, late, users, [client.last_event_id for client in clients])
    await stage.write.numbered(writer, [7])
    await stage.write.numbered(behind, [7])
    await expect(again[:2], 7)
    for group in (clients, returned):
        await expect(group[:1], *committed, 7)
        await expect(group[1:2], 0, 1, 2, 7)


@pytest.mark.parametrize("broker", ["kafka"], indirect=True, scope="session")
async def test_holes_of_compaction_break_no_cursor(
    broker: Broker,
    start_worker: StartWorker,
    open_stream: OpenStream,
    producer: AIOKafkaProducer,
    user: str,
) -> None:
    name = uuid.uuid4().hex[:8]
    served = Topics(f"user-events-{name}", f"broadcast-events-{name}")
    compacted = {
        "cleanup.policy": "compact",
        "segment.ms": "100",
        "min.cleanable.dirty.ratio": "0.01",
    }
    await create_topics(
        broker.bootstrap,
        [NewTopic(served.user, 1, 1, topic_configs=compacted), NewTopic(served.broadcast, 1, 1)],
    )
    write = RecordWriter(producer, served)
    client = await open_stream(await start_worker(served), user)
    ids = [client.last_event_id]
    others = [new_user() for _ in range(2)]
    for number in range(12):
        await write.numbered(user, [number])
        await write.numbered(others[number % 2], [number])
    await client.wait_for(12)
    ids += [event.last_event_id for event in client.events]

    async def has_holes() -> bool:
        # What is being written is never compacted: a record makes Kafka begin another segment.
        await write.numbered(others[0], [99])
        return await numbers_left(broker, served, user) == [11]

    await eventually("all but the user's last event are compacted away", has_holes)
    worker = await start_worker(served, tail_warm_seconds=0)
    resumed = await follow(open_stream, worker, [user] * len(ids), ids)
    await expect(resumed[:-1], 11)
    await expect(resumed[-1:])
    await write.numbered(user, [12])
    await expect(resumed[:-1], 11, 12)
    await expect(resumed[-1:], 12)
    await expect([client], *range(13))


async def numbers_left(broker: Broker, served: Topics, user: str) -> list[int]:
    """Return which of the user's events the log still has."""
    log = TopicPartition(served.user, 0)
    left: list[int] = []
    async with AIOKafkaConsumer(bootstrap_servers=broker.bootstrap) as consumer:
        consumer.assign([log])
        await consumer.seek_to_beginning(log)
        end = (await consumer.end_offsets([log]))[log]
        while await consumer.position(log) < end:
            records = (await consumer.getmany(log, timeout_ms=1000)).get(log, ())
            left += [number_of(record.value) for record in records if record.key == user.encode()]
    return left
