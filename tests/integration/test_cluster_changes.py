"""Clusters that change under open streams: addresses, logins, rights, leaders.

The worker finds the cluster again and loses no events; meanwhile readiness names the cause.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from gateway.publisher import EventPublisher
from tests.brokers.authority import Authority
from tests.brokers.kafka import KafkaNode
from tests.brokers.metadata import create_topics
from tests.brokers.secure import PASSWORD, USER, Listener, Operation, SecureNode
from tests.child import free_port
from tests.conftest import (
    Broker,
    MakeTopics,
    StartWorker,
    require_kafka,
    use_worker,
    worker_settings,
)
from tests.eventually import DEADLINE, eventually
from tests.integration.conftest import OpenStream, new_user
from tests.programs import require
from tests.records import RecordWriter, Topics
from tests.worker import Worker

TOPICS = Topics("user-events", "broadcast-events")


@pytest.fixture
def start(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Worker]]:
    with ExitStack() as workers:

        def start_one(**settings: object) -> Worker:
            worker = Worker(worker_settings(TOPICS, **settings), tmp_path / f"{uuid4()}.log")
            workers.callback(worker.end)
            use_worker(request, worker)
            return worker

        yield start_one


async def make(bootstrap: str) -> None:
    await create_topics(bootstrap, [NewTopic(TOPICS.user, 1, 1), NewTopic(TOPICS.broadcast, 1, 1)])


async def write(bootstrap: str, user: str, *numbers: int) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        await RecordWriter(producer, TOPICS).numbered(user, numbers)


async def reasons(worker: Worker) -> list[Any]:
    async with aiohttp.ClientSession() as session, session.get(f"{worker.ops_url}/readyz") as said:
        return list(json.loads(await said.text())["reasons"])


async def test_worker_starts_behind_five_silent_bootstrap_servers(
    broker: Broker, topics: MakeTopics, start_worker: StartWorker, open_stream: OpenStream
) -> None:
    with ExitStack() as stack:
        deaf = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(5)]
        servers = [f"127.0.0.1:{server.getsockname()[1]}" for server in deaf]
        served, user = await topics(1), new_user()
        worker = await start_worker(
            served, kafka_bootstrap=",".join([*servers, broker.bootstrap]), heartbeat_seconds=1
        )
        client = await open_stream(worker, user)
        async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap) as producer:
            await RecordWriter(producer, served).numbered(user, range(3))
        await client.wait_for(3)


async def test_cluster_is_found_at_another_port(
    tmp_path: Path, start: Callable[..., Worker], open_stream: OpenStream
) -> None:
    require_kafka()
    later = free_port()
    async with KafkaNode(tmp_path / "kafka") as node:
        await make(node.bootstrap)
        user = new_user()
        servers = f"{node.bootstrap},127.0.0.1:{later}"
        worker = start(kafka_bootstrap=servers)
        await worker.wait_until_ready()
        client = await open_stream(worker, user)
        await write(node.bootstrap, user, 0)
        await client.wait_for(1)
        node.end()
        node.move(later)
        await node.start()
        await write(node.bootstrap, user, 1)
        await client.wait_for(lambda client: client.numbers == [0, 1])


async def test_publisher_finds_a_cluster_that_returns_at_other_addresses(
    tmp_path: Path,
) -> None:
    require("java", "mvn")
    later = free_port()
    async with KafkaNode(tmp_path / "kafka") as node:
        await make(node.bootstrap)
        servers = [node.bootstrap, f"127.0.0.1:{later}"]
        async with EventPublisher(servers, timeout=3 * DEADLINE) as publisher:
            await publisher.publish("alice", "a.b", {})
            node.end()
            waiting = asyncio.create_task(publisher.publish("alice", "a.b", {}))
            node.move(later)
            await node.start()
            async with asyncio.timeout(DEADLINE):
                await waiting
                await publisher.publish("alice", "a.b", {})


async def test_logins_are_renewed_under_open_streams(
    tmp_path: Path, start: Callable[..., Worker], open_stream: OpenStream
) -> None:
    require("java", "mvn", "openssl")
    lifetime = {"connections.max.reauth.ms": 5000}
    async with SecureNode(tmp_path / "node", Authority(tmp_path), **lifetime) as node:
        await make(node.bootstrap)
        user = new_user()
        worker = start(
            kafka_bootstrap=node.address(Listener.PLAIN),
            kafka_security_protocol="SASL_PLAINTEXT",
            kafka_sasl_username=USER,
            kafka_sasl_password=PASSWORD,
        )
        await worker.wait_until_ready()
        begin = worker.log_size()
        client = await open_stream(worker, user)
        async with AIOKafkaProducer(bootstrap_servers=node.bootstrap) as producer:
            writer = RecordWriter(producer, TOPICS)
            for number in range(16):  # one a second: three lifetimes
                await writer.numbered(user, [number])
                await client.wait_for(number + 1)
                await asyncio.sleep(1)
        assert client.numbers == list(range(16))
        assert "warning" not in worker.log(begin), "no connection has ended"


async def test_right_taken_away_under_open_streams_is_reported_with_its_remedy(
    tmp_path: Path, start: Callable[..., Worker], open_stream: OpenStream
) -> None:
    require("java", "mvn", "openssl")
    async with SecureNode(tmp_path / "node", Authority(tmp_path)) as node:
        await make(node.bootstrap)
        user = new_user()
        worker = start(
            kafka_bootstrap=node.address(Listener.PLAIN),
            kafka_security_protocol="SASL_PLAINTEXT",
            kafka_sasl_username=USER,
            kafka_sasl_password=PASSWORD,
        )
        await worker.wait_until_ready()
        client = await open_stream(worker, user)
        await node.allow(TOPICS.user, f"User:{USER}", Operation.DESCRIBE)

        async def doubted() -> list[Any]:
            found = await reasons(worker)
            return found if [reason["reason"] for reason in found] == ["topics"] else []

        (reason,) = await eventually("the worker is not ready", doubted)
        assert f"no right Read on topic {TOPICS.user}" in reason["detail"]
        assert f"--operation Read --topic {TOPICS.user}" in reason["detail"]
        assert await worker.metric("gateway_kafka_connected") == 1
        await worker.wait_for_metric("gateway_kafka_unread_partitions", 1)
        await write(node.bootstrap, user, 0)
        await node.allow(TOPICS.user, f"User:{USER}", Operation.READ)

        async def ready() -> bool:
            return not await reasons(worker)

        await eventually("the worker is ready", ready)
        await client.wait_for(lambda client: client.numbers == [0])
        await worker.wait_for_metric("gateway_kafka_unread_partitions", 0)


async def test_lag_is_zero_behind_a_commit_marker(
    broker: Broker, topics: MakeTopics, start_worker: StartWorker, open_stream: OpenStream
) -> None:
    if broker.kind == "embedded":
        pytest.skip("the embedded broker has no transactions")
    served, user = await topics(1), new_user()
    worker = await start_worker(served)
    client = await open_stream(worker, user)
    async with (
        AIOKafkaProducer(
            bootstrap_servers=broker.bootstrap, transactional_id=served.user
        ) as producer,
        producer.transaction(),
    ):
        await RecordWriter(producer, served).numbered(user, range(3))
    await client.wait_for(3)
    await worker.wait_for_metric(
        "gateway_kafka_partition_lag_records", 0, kind="user", partition="0"
    )
