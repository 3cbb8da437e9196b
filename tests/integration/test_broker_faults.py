"""Brokers stop, freeze and return under open streams: streams stay open and lose no events.

On three real brokers, every event written with `acks=all`. In the end, clients must have the
contents of the log: each event once, in order.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiokafka.admin import NewTopic

from tests.brokers.cluster import NODES, Cluster
from tests.brokers.metadata import create_topics
from tests.client import StreamClient
from tests.conftest import use_worker, worker_settings
from tests.eventually import eventually
from tests.integration.conftest import OpenStream, new_user
from tests.records import Topics
from tests.worker import Worker, status
from tests.writing import SteadyWriter, numbers_by_user

PARTITIONS = 6
USERS = 12
INTERVAL = 0.1
"""Seconds between two events of a user."""

AWAY_SECONDS = float(os.environ.get("FAULT_SECONDS", "20"))
"""How long brokers are frozen or away: longer than any timeout between worker and broker."""


class Scene:
    """A worker, open streams on it, and writers that write continuously."""

    def __init__(
        self, cluster: Cluster, worker: Worker, topics: Topics, clients: dict[str, StreamClient]
    ) -> None:
        self.cluster = cluster
        self.worker = worker
        self.topics = topics
        self.clients = clients
        self.writer = SteadyWriter(cluster.bootstrap, topics.user, list(clients), interval=INTERVAL)

    async def wait_for_more(self, count: int = 5) -> None:
        """Return when every client has had some more events."""
        for client in self.clients.values():
            await client.wait_for(len(client.events) + count)

    async def judge(self) -> None:
        """Compare the received events with the log."""
        written = await numbers_by_user(self.cluster.bootstrap, self.topics.user, PARTITIONS)
        for user, client in self.clients.items():
            acknowledged = self.writer.acknowledged[user]
            assert acknowledged.keys() <= set(written[user]), "Kafka lost what it had acknowledged"
            await client.wait_for(len(written[user]))
            assert client.numbers == written[user]
            assert client.is_open
            assert client.own("gap") == client.own("close") == []
        assert "Traceback" not in self.worker.log()


@asynccontextmanager
async def scene(
    cluster: Cluster, open_stream: OpenStream, folder: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Scene]:
    """Set up a scene; the block causes the fault, then the events of every client are checked."""
    name = new_user()
    topics = Topics(f"user-events-{name}", f"broadcast-events-{name}")
    await create_topics(
        cluster.bootstrap, [NewTopic(topics.user, PARTITIONS, 3), NewTopic(topics.broadcast, 1, 3)]
    )
    settings = worker_settings(topics, kafka_bootstrap=cluster.bootstrap, heartbeat_seconds=1)
    worker = Worker(settings, folder / "log")
    use_worker(request, worker)
    try:
        await worker.wait_until_ready()
        users = [new_user() for _ in range(USERS)]
        clients = {user: await open_stream(worker, user) for user in users}
        running = Scene(cluster, worker, topics, clients)
        async with running.writer.writing():
            await running.wait_for_more()
            yield running
            await running.wait_for_more()
        await running.judge()
    finally:
        worker.end()


def has_beaten_since(count: int) -> Callable[[StreamClient], bool]:
    """Return the condition that a client has had more heartbeats than that."""
    return lambda client: client.heartbeats > count


async def test_a_rolling_restart_costs_no_event_and_no_stream(
    cluster: Cluster,
    open_stream: OpenStream,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    async with scene(cluster, open_stream, tmp_path, request) as running:
        for node in NODES:
            await cluster.restart(node)
            await cluster.wait_until_in_step(running.topics.user, *NODES)


async def test_the_death_of_a_leader_costs_no_event_and_no_stream(
    cluster: Cluster,
    open_stream: OpenStream,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    async with scene(cluster, open_stream, tmp_path, request) as running:
        victim = await cluster.leader_of(running.topics.user, 0)
        try:
            cluster.kill(victim)
            await running.wait_for_more()
        finally:
            await cluster.start(victim)
        await cluster.wait_until_in_step(running.topics.user, *NODES)


async def test_a_frozen_broker_costs_no_event_and_no_stream(
    cluster: Cluster,
    open_stream: OpenStream,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    async with scene(cluster, open_stream, tmp_path, request) as running:
        victim = await cluster.leader_of(running.topics.user, 0)
        try:
            cluster.freeze(victim)
            await asyncio.sleep(AWAY_SECONDS)
            await running.wait_for_more()
        finally:
            cluster.thaw(victim)
        await cluster.wait_until_in_step(running.topics.user, *NODES)


async def test_streams_stay_open_and_beat_while_all_brokers_are_away(
    cluster: Cluster,
    open_stream: OpenStream,
    tmp_path: Path,
    http: aiohttp.ClientSession,
    request: pytest.FixtureRequest,
) -> None:
    async with scene(cluster, open_stream, tmp_path, request) as running:

        async def not_ready() -> bool:
            return await status(http, f"{running.worker.ops_url}/readyz") == 503

        cluster.kill(*NODES)
        try:
            await eventually("the outage is reported", not_ready)
            await asyncio.sleep(AWAY_SECONDS)
            for client in running.clients.values():
                await client.wait_for(has_beaten_since(client.heartbeats))
        finally:
            await cluster.start(*NODES)
        await running.worker.wait_until_ready()
