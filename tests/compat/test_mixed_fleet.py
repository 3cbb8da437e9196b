"""A worker of the former release beside one of this: the fleet, ids, revocations, by processes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from aiokafka import AIOKafkaProducer

from tests.client import StreamClient
from tests.compat.release import environment
from tests.conftest import Broker, MakeTopics, StartWorker, worker_settings
from tests.eventually import eventually
from tests.integration.conftest import OpenStream
from tests.records import RecordWriter
from tests.worker import Worker


def has(number: int, client: StreamClient) -> bool:
    return len(client.numbers) == number


async def fleet(http: aiohttp.ClientSession, worker: Worker) -> list[dict[str, Any]]:
    async with http.get(f"{worker.ops_url}/ops/fleet") as response:
        found: list[dict[str, Any]] = (await response.json())["workers"]
    return [each for each in found if each["state"] == "ready"]


async def test_both_releases_see_each_other_and_a_client_moves_between_them(
    broker: Broker,
    topics: MakeTopics,
    start_worker: StartWorker,
    open_stream: OpenStream,
    producer: AIOKafkaProducer,
    http: aiohttp.ClientSession,
    user: str,
    tmp_path: Path,
) -> None:
    served = await topics(4, revocations=1, workers=1)
    write = RecordWriter(producer, served)
    new = await start_worker(served)
    settings = worker_settings(served, kafka_bootstrap=broker.bootstrap)
    former = Worker({**environment(), **settings}, tmp_path / "former")
    try:
        await former.wait_until_ready()
        for worker in (new, former):

            async def both(worker: Worker = worker) -> bool:
                return len(await fleet(http, worker)) == 2

            await eventually("both workers are shown", both)
        client = await open_stream(former, user)
        number = 0
        for worker in (new, former, new):  # an upgrade, its rollback, and the upgrade again
            await write.numbered(user, [number, number + 1])
            number += 2
            await client.wait_for(partial(has, number))
            await client.drop()
            await write.numbered(user, [number])
            number += 1
            await client.reconnect(url=worker.events_url)
        await client.wait_for(partial(has, number))
        assert client.numbers == list(range(number))
        assert client.own("gap") == []
    finally:
        former.end()
