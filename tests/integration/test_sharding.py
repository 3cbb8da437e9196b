"""Sharding by redirect, as operators run it: a topic that grows, a Kafka that is away."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import aiohttp
from aiokafka.admin import NewTopic

from gateway.core.partitioner import partitioner
from gateway.demo.broker import EmbeddedBroker
from tests.brokers.metadata import create_topics
from tests.conftest import PARTITIONS, Broker, MakeTopics, StartWorker, worker_settings
from tests.eventually import eventually
from tests.integration.conftest import SetUp
from tests.integration.test_changed_topics import (
    BEFORE,
    grow,
    only_kafka,
    partitions_of,
    user_who_moves,
)
from tests.records import Topics
from tests.tokens import bearer, mint
from tests.worker import Worker, status


async def sent_to(
    http: aiohttp.ClientSession, worker: Worker, user: str, query: str = ""
) -> str | None:
    """Return where a request is sent, or None where it is served."""
    url = f"{worker.events_url}{query}"
    async with http.get(url, headers=bearer(mint(user)), allow_redirects=False) as response:
        assert response.status in (200, 307)
        return response.headers.get("Location")


async def test_a_stream_is_opened_behind_the_redirect_and_resumed_behind_another(
    set_up: SetUp, http: aiohttp.ClientSession, user: str
) -> None:
    stage = await set_up(sharding="redirect")
    shard = partitioner("murmur2")(user.encode(), PARTITIONS)
    assert await sent_to(http, stage.worker, user) == f"events?shard={shard}"
    assert await sent_to(
        http, stage.worker, user, f"?shard={(shard + 1) % PARTITIONS}&categories=ai"
    ) == (f"events?shard={shard}&categories=ai")
    client = await stage.open(user)
    await stage.write.numbered(user, [0])
    await client.wait_for(1)
    await client.drop()
    await stage.write.numbered(user, [1, 2])
    await client.reconnect()
    await client.wait_for(3)
    assert client.numbers == [0, 1, 2]
    assert partitions_of(client) == [shard]
    await stage.worker.wait_for_metric("gateway_redirects_total", 4)
    assert await stage.worker.metric("gateway_records_read_total") >= 1


@only_kafka
async def test_added_partitions_change_the_shard_without_a_redirect_loop(
    broker: Broker,
    topics: MakeTopics,
    start_worker: StartWorker,
    http: aiohttp.ClientSession,
) -> None:
    served = await topics(BEFORE)
    user = user_who_moves(1, 3)
    workers = [await start_worker(served, sharding="redirect") for _ in range(2)]
    for worker in workers:
        assert await sent_to(http, worker, user, "?shard=1") is None
    await grow(broker.bootstrap, served.user)
    # A worker looks the partitions up first, so it never redirects a client back.
    assert await sent_to(http, workers[0], user, "?shard=3") is None
    assert await sent_to(http, workers[1], user, "?shard=3") is None
    for worker in workers:
        assert await sent_to(http, worker, user, "?shard=1") == "events?shard=3"
        assert await sent_to(http, worker, user) == "events?shard=3"


async def test_any_shard_is_served_while_kafka_is_down(
    tmp_path: Path, http: aiohttp.ClientSession, user: str
) -> None:
    served = Topics("user-events", "broadcast-events")
    async with EmbeddedBroker() as broker:
        await create_topics(
            broker.bootstrap, [NewTopic(served.user, 1, 1), NewTopic(served.broadcast, 1, 1)]
        )
        settings = worker_settings(served, kafka_bootstrap=broker.bootstrap, sharding="redirect")
        worker = Worker(settings, tmp_path / "log")
        try:
            await worker.wait_until_ready()
            assert await sent_to(http, worker, user, "?shard=1") == "events?shard=0"
            os.kill(broker.pid, signal.SIGSTOP)

            async def not_ready() -> bool:
                return await status(http, f"{worker.ops_url}/readyz") == 503

            await eventually("the outage is reported", not_ready)
            assert await sent_to(http, worker, user, "?shard=1") is None
            assert await sent_to(http, worker, user) == "events?shard=0", (
                "this does not need to be sure"
            )
        finally:
            worker.end()
            os.kill(broker.pid, signal.SIGCONT)
    assert "Traceback" not in worker.log()
