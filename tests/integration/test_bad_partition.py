"""A partition whose leader is away never delays the others: neither live nor replay.

Each partition has one replica, so no other broker becomes its leader, and the broadcast log is one
of the unavailable partitions. These partitions need more replays than the worker runs at once.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from statistics import median

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from tests.brokers.cluster import Cluster
from tests.brokers.metadata import create_topics
from tests.client import StreamClient
from tests.conftest import use_worker, worker_settings
from tests.integration.conftest import OpenStream, new_user
from tests.integration.poison import user_of
from tests.records import RecordWriter, Topics
from tests.worker import Worker

BAD, GOOD = 1, 2
"""The node whose partitions become unavailable, and a node whose partitions stay available."""

LOGS = 4
"""Partitions on each of the two nodes: the first ones are on the bad one."""

PLACES = 2
AWAY_SECONDS = 15.0
LEAST_ROUNDS = 5

DELAY_SECONDS = 2.0
"""Most of the events take less: some milliseconds, or more on a busy machine, but no timeout."""


@pytest.mark.parametrize("fault", ["freeze", "kill"])
async def test_partitions_on_other_brokers_are_not_delayed(
    cluster: Cluster,
    open_stream: OpenStream,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    fault: str,
) -> None:
    name = new_user()
    served = Topics(f"user-events-{name}", f"broadcast-events-{name}")
    alone = {"min.insync.replicas": "1"}
    nodes = {number: [BAD if number < LOGS else GOOD] for number in range(2 * LOGS)}
    await create_topics(
        cluster.bootstrap,
        [
            NewTopic(served.user, -1, -1, nodes, alone),
            NewTopic(served.broadcast, -1, -1, {0: [BAD]}, alone),
        ],
    )
    users = [user_of(partition, 2 * LOGS) for partition in range(2 * LOGS)]
    bad, (live, returning, late) = users[:LOGS], users[LOGS : LOGS + 3]
    settings = {
        "tail_bytes": 20_000,
        "tail_warm_seconds": 0,
        "replay_scans": PLACES,
        "max_streams_per_user": 100,  # which allows for as many replays as one user asks for here
    }
    worker = Worker(
        worker_settings(served, kafka_bootstrap=cluster.bootstrap, heartbeat_seconds=1, **settings),
        tmp_path / "log",
    )
    use_worker(request, worker)
    try:
        await worker.wait_until_ready()
        async with AIOKafkaProducer(bootstrap_servers=cluster.bootstrap) as producer:
            write = RecordWriter(producer, served)
            clients = {user: await open_stream(worker, user) for user in (*bad, live, returning)}
            for user, client in clients.items():
                await write.numbered(user, [0])
                await client.wait_for(1)
            for user in (*bad, returning):
                await clients[user].drop()
            for partition in (*range(LOGS), LOGS + 1):
                await write.numbered(users[partition], [1])
                await write.noise(300, partition)
            await clients[live].wait_for(1)

            getattr(cluster, fault)(BAD)
            end = time.monotonic() + AWAY_SECONDS
            for user in bad:
                await clients[user].reconnect()
            delays: list[float] = []

            async def comes(client: StreamClient, count: int) -> None:
                begin = time.monotonic()
                await client.wait_for(count)
                delays.append(time.monotonic() - begin)

            await clients[returning].reconnect()
            await comes(clients[returning], 2)
            newcomer = await open_stream(worker, late, started=False)
            number = 0
            while time.monotonic() < end or number < LEAST_ROUNDS:
                number += 1
                await clients[returning].drop()
                await write.numbered(returning, [number + 1])
                await write.noise(300, LOGS + 1)
                await write.numbered(live, [number])
                await write.numbered(late, [number])
                await comes(clients[live], number + 1)
                await comes(newcomer, number)
                await clients[returning].reconnect()
                await comes(clients[returning], number + 2)
                await asyncio.sleep(0.2)
            assert median(delays) < DELAY_SECONDS
            assert await worker.metric("gateway_ready") == 1

            await bring_back(cluster, fault)
            for user in bad:
                await clients[user].wait_for(2)
                assert clients[user].numbers == [0, 1]
            assert clients[live].numbers == list(range(number + 1))
            assert clients[returning].numbers == list(range(number + 2))
            assert newcomer.numbers == list(range(1, number + 1))
            assert not any(client.own("gap") for client in clients.values())
    finally:
        worker.end()
        await bring_back(cluster, fault)


async def bring_back(cluster: Cluster, fault: str) -> None:
    cluster.thaw(BAD)
    await cluster.start(*cluster.ended())
