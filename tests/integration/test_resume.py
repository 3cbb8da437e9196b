"""Coming back with an id: from memory, from Kafka, on another worker, after a kill."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from tests.conftest import MakeTopics, StartWorker
from tests.integration.conftest import OpenStream, SetUp, new_user
from tests.records import RecordWriter, numbered
from tests.worker import Worker

NO_MEMORY: dict[str, Any] = {"tail_bytes": 20_000, "tail_warm_seconds": 0}
"""Settings with which a client that was away finds nothing in memory."""


async def test_a_client_that_drops_after_any_event_gets_the_rest_exactly_once(
    worker: Worker, user: str, open_stream: OpenStream, write: RecordWriter
) -> None:
    client = await open_stream(worker, user)
    await write.numbered(user, range(6))
    await client.wait_for(6)

    for number, event in enumerate(client.events):
        again = await open_stream(worker, user, headers={"Last-Event-ID": event.last_event_id})
        await write.noise(1, partition=0)
        await again.wait_for(5 - number)
        await again.drop()
        assert again.numbers == list(range(number + 1, 6))


async def test_what_memory_does_not_have_any_more_is_replayed_from_kafka(
    set_up: SetUp, user: str
) -> None:
    stage = await set_up(1, **NO_MEMORY)
    client = await stage.open(user)
    await stage.write.numbered(user, range(5))
    await client.wait_for(5)
    await client.drop()
    seen = await stage.witness()

    for begin in range(5, 50, 5):
        await stage.write.noise(100, partition=0)
        await stage.write.numbered(user, range(begin, begin + 5))
    await stage.write.noise(300, partition=0)
    await seen.has_seen_everything()
    await client.reconnect()

    await client.wait_for(50)
    assert client.numbers == list(range(50))
    assert client.own("gap") == []
    assert await stage.worker.metric("gateway_events_sent_total", path="replay") > 0
    await stage.write.numbered(user, [50])
    await client.wait_for(51)
    assert client.numbers[-1] == 50


async def test_clients_that_resume_together_share_one_scan(set_up: SetUp) -> None:
    stage = await set_up(1, **NO_MEMORY, replay_scans=1)
    users = [new_user() for _ in range(20)]
    clients = [await stage.open(user) for user in users]
    for client in clients:
        await client.drop()
    seen = await stage.witness()
    for number in range(3):
        for user in users:
            await stage.write.numbered(user, [number])
        await stage.write.noise(300, partition=0)
    await seen.has_seen_everything()

    await asyncio.gather(*(client.reconnect() for client in clients))

    for client in clients:
        await client.wait_for(3)
        assert client.numbers == [0, 1, 2]
    written = 3 * (20 + 300)
    assert await stage.worker.metric("gateway_events_sent_total", path="replay") > 0
    scanned = await stage.worker.metric("gateway_replay_records_scanned_total")
    assert scanned < 10 * written, "not once for each of the twenty"


@pytest.mark.parametrize("memory", [{}, NO_MEMORY], ids=["memory", "replay"])
async def test_history_meets_live_without_a_seam_while_events_are_written(
    set_up: SetUp, user: str, memory: dict[str, Any]
) -> None:
    stage = await set_up(1, **memory)
    chance = random.Random(1)
    client = await stage.open(user)
    written = 0

    async def write_on() -> None:
        nonlocal written
        while not enough.is_set():
            await stage.write.numbered(user, [written])
            written += 1
            await stage.write.noise(chance.randrange(1, 5), partition=0, size=200)

    enough = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write_on())
        for _ in range(15):
            await client.wait_for(len(client.events) + chance.randrange(1, 12))
            await client.drop()
            await stage.write.noise(chance.randrange(1, 60), partition=0, size=200)
            await client.reconnect()
        enough.set()

    await client.wait_for(written)
    assert client.numbers == list(range(written))
    assert client.own("gap") == []


async def test_a_client_can_move_between_workers_with_every_event(
    topics: MakeTopics,
    start_worker: StartWorker,
    open_stream: OpenStream,
    producer: AIOKafkaProducer,
    user: str,
) -> None:
    served = await topics()
    workers = [await start_worker(served), await start_worker(served)]
    write = RecordWriter(producer, served)
    client = await open_stream(workers[0], user)

    for number in range(0, 40, 2):
        await write.numbered(user, [number])
        await client.wait_for(number + 1)
        await client.drop()
        await write.numbered(user, [number + 1])
        await client.reconnect(url=workers[number // 2 % 2].events_url)
        await client.wait_for(number + 2)

    assert client.numbers == list(range(40))
    assert client.own("gap") == []


async def test_a_killed_worker_costs_no_event(
    topics: MakeTopics,
    start_worker: StartWorker,
    open_stream: OpenStream,
    producer: AIOKafkaProducer,
    user: str,
) -> None:
    served = await topics()
    victim, other = [await start_worker(served), await start_worker(served)]
    write = RecordWriter(producer, served)
    client = await open_stream(victim, user)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write_slowly(write, user, 60))
        await client.wait_for(20)

        victim.kill()

        await client.wait_for_end()
        await client.reconnect(url=other.events_url)
    await client.wait_for(60)
    assert client.numbers == list(range(60))
    assert client.own("gap") == []


async def write_slowly(write: RecordWriter, user: str, count: int) -> None:
    """Write numbered events one by one, each when the broker has the one before."""
    for number in range(count):
        await write.numbered(user, [number])


async def test_restarted_worker_resumes_the_streams_of_its_predecessor(
    set_up: SetUp, user: str
) -> None:
    stage = await set_up()
    client = await stage.open(user)
    await stage.write.numbered(user, [0])
    await client.wait_for(1)
    stage.worker.kill()
    await stage.write.record(user.encode(), b"not understood")
    await stage.write.event(user, data=numbered(1))

    await client.reconnect(url=(await stage.start()).events_url)

    await client.wait_for(2)
    assert client.numbers == [0, 1]
