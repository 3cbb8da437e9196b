"""The operations listener, the drain, a Kafka that is away, and settings that cannot work."""

from __future__ import annotations

import asyncio
import json
import signal
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from gateway.demo.broker import EmbeddedBroker
from tests.brokers.metadata import create_topics
from tests.child import free_port
from tests.conftest import Broker, StartWorker, worker_settings
from tests.eventually import DEADLINE, eventually
from tests.integration.conftest import OpenStream, SetUp, new_user
from tests.integration.problems import expect_problem
from tests.records import RecordWriter, Topics
from tests.tokens import bearer, mint
from tests.worker import Worker, status

DRAIN_SECONDS = 6.0
"""Time to observe a worker that drains."""

METRICS = [
    "gateway_streams_open",
    "gateway_ready",
    "gateway_tail_bytes",
    "gateway_events_sent_total",
    "gateway_gaps_total",
    "gateway_closes_total",
    "gateway_rejects_total",
    "gateway_unreadable_records_total",
    "gateway_delivery_seconds",
    "gateway_replay_seconds",
    "gateway_replay_records_scanned_total",
    "gateway_replays_waiting",
    "gateway_kafka_lag_records",
    "gateway_kafka_unread_partitions",
    "gateway_kafka_connected",
    "gateway_unknown_types_total",
    "gateway_partitioner_mismatches_total",
]


async def readiness(worker: Worker, http: aiohttp.ClientSession) -> tuple[int, str]:
    """Return the status and the text of `/readyz`."""
    async with http.get(f"{worker.ops_url}/readyz") as response:
        text = await response.text()
        assert json.loads(text)
        return response.status, text


def time_of(line: dict[str, Any]) -> float:
    """Return the Unix time of a log line."""
    return datetime.fromisoformat(line["timestamp"]).timestamp()


async def wait_until_up(worker: Worker, http: aiohttp.ClientSession) -> None:
    """Return when the worker answers `/healthz`, ready or not."""

    async def up() -> bool:
        assert worker.exit_code is None, worker.log()
        return await status(http, f"{worker.ops_url}/healthz") == 200

    await eventually("the worker is up", up)


async def test_a_worker_that_serves_is_healthy_and_ready(
    worker: Worker, http: aiohttp.ClientSession
) -> None:
    assert await status(http, f"{worker.ops_url}/healthz") == 200
    assert (await readiness(worker, http))[0] == 200
    assert await worker.metric("gateway_ready") == 1
    assert await worker.metric("gateway_kafka_connected") == 1


async def test_every_metric_has_its_name_and_none_names_a_user(
    worker: Worker,
    user: str,
    open_stream: OpenStream,
    write: RecordWriter,
    http: aiohttp.ClientSession,
) -> None:
    client = await open_stream(worker, user)
    await write.numbered(user, [0])
    await client.wait_for(1)
    async with http.get(f"{worker.ops_url}/metrics") as response:
        text = await response.text()

    described = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    described |= {f"{name}_total" for name in described}
    assert [name for name in METRICS if name not in described] == []
    assert user not in text


async def test_deliveries_are_counted_and_timed(
    worker: Worker, user: str, open_stream: OpenStream, write: RecordWriter
) -> None:
    client = await open_stream(worker, user)
    sent = await worker.metric("gateway_events_sent_total")
    timed = await worker.metric("gateway_delivery_seconds_count")

    await write.numbered(user, range(5))
    await client.wait_for(5)

    await worker.wait_for_metric("gateway_events_sent_total", sent + 5)
    await worker.wait_for_metric("gateway_delivery_seconds_count", timed + 5)


async def test_a_drain_ends_every_stream_with_a_word_and_the_process_with_0(
    set_up: SetUp, http: aiohttp.ClientSession
) -> None:
    stage = await set_up(drain_seconds=DRAIN_SECONDS)
    users = [new_user() for _ in range(8)]
    clients = [await stage.open(user) for user in users]

    reader, kept = await asyncio.open_connection("127.0.0.1", stage.worker.port)
    kept.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b" 200 OK" in await reader.readuntil(b"bearer token opens your stream.\n")

    stage.worker.signal(signal.SIGTERM)

    async def not_ready() -> bool:
        return await status(http, f"{stage.worker.ops_url}/readyz") == 503

    await eventually("the worker is not ready", not_ready)
    assert any(client.is_open for client in clients), "not ready comes first"
    with pytest.raises(aiohttp.ClientConnectorError):
        await http.get(stage.worker.events_url)  # so every load balancer looks elsewhere
    token = mint("u").encode()
    kept.write(
        b"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n\r\n" % token
    )
    answer = await reader.read()
    assert b" 200 OK\r\n" in answer, "an EventSource gives up at any other"
    assert b'stream.close\ndata: {"reason":"draining"}' in answer
    kept.close()
    await stage.write.numbered(users[-1], [0])
    for client in clients:
        await client.wait_for_end()
        assert client.own("close") == ['{"reason":"draining"}']
    assert stage.worker.wait() == 0
    ids = {dict(client.headers)["x-request-id"] for client in clients}
    (begun,) = map(time_of, stage.worker.entries("draining; a second signal stops at once"))
    ends = sorted(
        time_of(line) - begun
        for line in stage.worker.entries("stream closed")
        if line["request_id"] in ids
    )
    # Up to half of the time passes before the first end, for another worker to be ready.
    assert ends[0] < 0.75 * DRAIN_SECONDS
    least = 0.9 * (DRAIN_SECONDS - ends[0]) * (len(ids) - 1) / len(ids)
    assert ends[-1] - ends[0] > least, "spread over the drain time"
    retries = {client.retry for client in clients}
    assert len(retries) > 1, "so that they do not all come back at once"
    assert all(3000 <= retry <= 6000 for retry in retries if retry is not None), "no other worker"

    other = await stage.start()
    await clients[-1].reconnect(url=other.events_url)
    await clients[-1].wait_for(lambda client: client.data)
    assert clients[-1].numbers == [0]


async def test_a_worker_without_streams_drains_at_once(set_up: SetUp) -> None:
    stage = await set_up(drain_seconds=10 * DEADLINE)
    stage.worker.signal(signal.SIGTERM)
    assert stage.worker.wait() == 0
    assert "Traceback" not in stage.worker.log()


async def test_worker_waits_for_kafka_reports_it_and_serves_once_kafka_is_up(
    http: aiohttp.ClientSession, tmp_path: Path, open_stream: OpenStream, user: str
) -> None:
    port = free_port()
    served = Topics("user-events", "broadcast-events")
    settings = worker_settings(served, kafka_bootstrap=f"127.0.0.1:{port}")
    worker = Worker(settings, tmp_path / "log")
    try:
        await wait_until_up(worker, http)

        async def names_kafka() -> bool:
            code, text = await readiness(worker, http)
            return code == 503 and "Kafka" in text

        await eventually("the worker is not ready and names Kafka", names_kafka)
        assert await worker.metric("gateway_ready") == 0
        async with http.get(worker.events_url, headers=bearer(mint(user))) as response:
            await expect_problem(response, 503)
            assert "Retry-After" in response.headers

        async with EmbeddedBroker(port) as broker:
            await create_topics(
                broker.bootstrap, [NewTopic(served.user, 2, 1), NewTopic(served.broadcast, 1, 1)]
            )
            await worker.wait_until_ready()
            client = await open_stream(worker, user)
            await client.drop()
    finally:
        worker.end()
    assert "Traceback" not in worker.log()


async def test_a_missing_topic_is_named_with_the_command_that_makes_it(
    broker: Broker, start_worker: StartWorker, http: aiohttp.ClientSession
) -> None:
    name = new_user()
    missing = Topics(f"user-events-{name}", f"broadcast-events-{name}")
    worker = await start_worker(missing, ready=False)
    await wait_until_up(worker, http)

    async def named() -> bool:
        return missing.user in (await readiness(worker, http))[1]

    await eventually("the missing topic is named", named)
    assert (await readiness(worker, http))[0] == 503
    await worker.wait_for_log(missing.user, "--create --topic")
    await create_topics(
        broker.bootstrap, [NewTopic(missing.user, 2, 1), NewTopic(missing.broadcast, 1, 1)]
    )
    await worker.wait_until_ready()


async def test_a_worker_can_make_the_topics_itself(
    start_worker: StartWorker,
    open_stream: OpenStream,
    producer: AIOKafkaProducer,
    user: str,
) -> None:
    name = new_user()
    made = Topics(f"user-events-{name}", f"broadcast-events-{name}")
    worker = await start_worker(made, create_topics="true")
    client = await open_stream(worker, user)

    await RecordWriter(producer, made).numbered(user, [0])

    await client.wait_for(1)
    assert client.numbers == [0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"GATEWAY_JWT_SECRET": "short"}, ["GATEWAY_JWT_SECRET", "32"]),
        ({"GATEWAY_JWT_SECRET": ""}, ["GATEWAY_JWT_SECRET", "openssl rand"]),
        ({"GATEWAY_HEARTBEAT_SECONDS": "often"}, ["GATEWAY_HEARTBEAT_SECONDS"]),
        ({"GATEWAY_LISTN": "127.0.0.1:0"}, ["GATEWAY_LISTN", "GATEWAY_LISTEN"]),
        ({"GATEWAY_LISTEN": "8080"}, ["GATEWAY_LISTEN", "host:port"]),
        ({"GATEWAY_REGISTRY": __file__}, [f"GATEWAY_REGISTRY: {__file__}: is not valid TOML"]),
        ({"GATEWAY_REGISTRY": "/nowhere/types.toml"}, ["GATEWAY_REGISTRY", "/nowhere/types.toml"]),
        ({"GATEWAY_OPS_LISTEN": "0.0.0.0:0"}, ["GATEWAY_OPS_LISTEN", "GATEWAY_OPS_TOKEN"]),
    ],
    ids=lambda case: next(iter(case)) if isinstance(case, dict) else "",
)
def test_wrong_settings_stop_the_start_with_one_line(
    settings: dict[str, str], words: list[str], tmp_path: Path
) -> None:
    served = Topics("user-events", "broadcast-events")
    worker = Worker({**worker_settings(served), **settings}, tmp_path / "log")
    try:
        assert worker.wait() == 2
    finally:
        worker.end()
    lines = worker.log().strip().splitlines()
    assert len(lines) == 1, lines
    assert all(word in lines[0] for word in words)


async def test_the_error_names_a_used_port(worker: Worker, broker: Broker, tmp_path: Path) -> None:
    served = Topics("user-events", "broadcast-events")
    settings = worker_settings(
        served, kafka_bootstrap=broker.bootstrap, listen=f"127.0.0.1:{worker.port}"
    )
    second = Worker(settings, tmp_path / "log")
    try:
        assert second.wait() != 0
    finally:
        second.end()
    assert str(worker.port) in second.log()
    assert "Traceback" not in second.log()
