"""Every compression that Kafka has is read, live and by replay, with nothing installed by hand."""

from __future__ import annotations

import uuid

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from tests.brokers.metadata import create_topics
from tests.conftest import Broker, MakeTopics, StartWorker
from tests.integration.conftest import OpenStream
from tests.records import RecordWriter, Topics

COMPRESSIONS = ["gzip", "snappy", "lz4", "zstd"]

EACH = 20
"""Events in a compression: enough for batches of several records, in which offsets are relative."""


async def test_producers_may_compress_as_they_like_each_in_its_own_way(
    broker: Broker,
    topics: MakeTopics,
    start_worker: StartWorker,
    open_stream: OpenStream,
    user: str,
) -> None:
    served = await topics(1)
    client = await open_stream(await start_worker(served), user)
    begin = client.last_event_id

    for place, compression in enumerate([*COMPRESSIONS, None]):
        numbers = range(place * EACH, (place + 1) * EACH)
        await _write(broker, served, user, numbers, compression)
        await client.wait_for(numbers.stop)
        assert client.numbers[numbers.start :] == list(numbers), f"live, {compression}"

    await _expect_replay(start_worker, open_stream, served, user, begin, client.numbers)


@pytest.mark.parametrize("broker", ["kafka"], indirect=True, scope="session")
@pytest.mark.parametrize("compression", COMPRESSIONS)
async def test_a_topic_may_compress_whatever_producers_write(
    broker: Broker,
    start_worker: StartWorker,
    open_stream: OpenStream,
    user: str,
    compression: str,
) -> None:
    name = uuid.uuid4().hex[:8]
    served = Topics(f"user-events-{name}", f"broadcast-events-{name}")
    configs = {"compression.type": compression}
    names = [served.user, served.broadcast]
    await create_topics(
        broker.bootstrap, [NewTopic(name, 1, 1, topic_configs=configs) for name in names]
    )
    client = await open_stream(await start_worker(served), user)
    begin = client.last_event_id

    await _write(broker, served, user, range(EACH), None)

    await client.wait_for(EACH)
    assert client.numbers == list(range(EACH))
    await _expect_replay(start_worker, open_stream, served, user, begin, client.numbers)


async def _write(
    broker: Broker, served: Topics, user: str, numbers: range, compression: str | None
) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=broker.bootstrap, compression_type=compression, linger_ms=50
    ) as producer:
        await RecordWriter(producer, served).numbered(user, numbers)


async def _expect_replay(
    start_worker: StartWorker,
    open_stream: OpenStream,
    served: Topics,
    user: str,
    begin: str,
    numbers: list[int],
) -> None:
    """Resume at a worker with an empty tail and no warm-up, so it reads Kafka again."""
    worker = await start_worker(served, tail_warm_seconds=0)
    resumed = await open_stream(worker, user, headers={"Last-Event-ID": begin})
    await resumed.wait_for(len(numbers))
    assert resumed.numbers == numbers
    assert resumed.own("gap") == []
    await worker.wait_for_metric("gateway_events_sent_total", len(numbers), path="replay")
