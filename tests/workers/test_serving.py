"""`gateway serve --workers 2` as a process: streams, a worker that is killed, reload, drain."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiokafka import AIOKafkaProducer

from tests.child import is_listening
from tests.conftest import MakeTopics, StartWorker
from tests.eventually import eventually
from tests.integration.conftest import OpenStream, new_user
from tests.records import RecordWriter
from tests.worker import Worker, status
from tests.workers.followers import (
    PARTITIONS,
    all_have_some,
    all_received,
    followers,
    pid_of,
    until_up,
    write_until,
)

OPS_TOKEN = "open-sesame"


async def test_each_worker_reads_its_share_and_gets_its_users_on_their_first_connection(
    topics: MakeTopics,
    start_worker: StartWorker,
    open_stream: OpenStream,
    producer: AIOKafkaProducer,
) -> None:
    served = await topics(PARTITIONS)
    worker = await start_worker(served, workers=2, sharding="handover", broadcast_topic="")
    await until_up(worker)
    write = RecordWriter(producer, served)
    users = [new_user() for _ in range(40)]
    clients = [await open_stream(worker, user) for user in users]
    for user in users:
        await write.event(user)
    for client in clients:
        await client.wait_for(1)
        assert dict(client.headers).get("location") is None
    streams = [await worker.metric("gateway_streams_open", worker=slot) for slot in ("0", "1")]
    for slot, count in enumerate(streams):
        await worker.wait_for_metric("gateway_records_read_total", count, worker=str(slot))
    assert sum(streams) == len(users)
    assert all(streams)
    assert await worker.metric("gateway_handovers_total") > 0


async def test_a_worker_that_is_killed_is_restarted_and_no_client_loses_an_event(
    topics: MakeTopics, start_worker: StartWorker, producer: AIOKafkaProducer
) -> None:
    served = await topics(PARTITIONS)
    worker = await start_worker(served, workers=2, sharding="handover")
    await until_up(worker)
    write = RecordWriter(producer, served)
    async with followers(worker, 10) as found:
        stop = asyncio.Event()
        writing = asyncio.create_task(write_until(stop, write, found))
        await all_have_some(found)
        os.kill(pid_of(worker, 0), signal.SIGKILL)
        (died,) = await worker.wait_for_entries("worker died; it is restarted")
        assert died["slot"] == 0
        assert died["exit_code"] == -signal.SIGKILL
        await worker.wait_for_entries("listening", 3)
        await until_up(worker)
        stop.set()
        await all_received(found, await writing)
        await eventually(
            "clients have reconnected",
            lambda: sum(each.connections for each in found) > len(found),
        )
    await worker.wait_for_metric("gateway_worker_restarts_total", 1, worker="0")


async def test_sigterm_drains_all_workers_and_frees_the_port(
    topics: MakeTopics, start_worker: StartWorker, open_stream: OpenStream
) -> None:
    worker = await start_worker(await topics(PARTITIONS), workers=2, sharding="handover")
    await until_up(worker)
    clients = [await open_stream(worker, new_user()) for _ in range(10)]
    worker.signal(signal.SIGTERM)
    for client in clients:
        await client.wait_for_end()
        assert client.own("close") == ['{"reason":"draining"}']
    assert worker.wait() == 0
    assert [line["exit_code"] for line in worker.entries("worker ended")] == [0, 0]
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", worker.port)


async def test_workers_of_a_killed_supervisor_drain_and_free_the_port(
    topics: MakeTopics, start_worker: StartWorker, open_stream: OpenStream, user: str
) -> None:
    worker = await start_worker(await topics(2), workers=2)
    await until_up(worker)
    client = await open_stream(worker, user)
    worker.kill()
    await client.wait_for(lambda client: client.own("close"))
    await eventually("the port is free", lambda: not is_listening(worker.port))


async def test_operations_port_answers_for_all_workers(
    topics: MakeTopics,
    start_worker: StartWorker,
    open_stream: OpenStream,
    http: aiohttp.ClientSession,
    user: str,
) -> None:
    served = await topics(2, workers=1)
    worker = await start_worker(served, workers=2, ops_token=OPS_TOKEN)
    await until_up_by_readyz(http, worker)
    for _ in range(6):
        await open_stream(worker, user)
    headers = {"Authorization": f"Bearer {OPS_TOKEN}"}

    async def ask(path: str, method: str = "GET") -> Any:
        url = f"{worker.ops_url}{path}"
        async with http.request(method, url, headers=headers) as response:
            assert response.status in (200, 202), await response.text()
            return await response.json()

    assert await status(http, f"{worker.ops_url}/ops/fleet") == 401
    assert await status(http, f"{worker.ops_url}/metrics") == 401
    assert await status(http, f"{worker.ops_url}/ops") == 200
    assert await status(http, f"{worker.ops_url}/healthz") == 200
    assert (await ask("/version"))["version"]

    async def both() -> Any:
        fleet = await ask("/ops/fleet")
        return fleet if len(fleet["workers"]) == 2 else None

    fleet = await eventually("both workers are shown", both)
    assert {each["ops_url"] for each in fleet["workers"]} == {worker.ops_url}
    streams = (await ask(f"/ops/streams?user={user}"))["streams"]
    assert len(streams) == 6
    name = streams[-1]["stream"]
    assert await ask(f"/ops/streams/{name}", "DELETE") == {"ended": 1}
    assert await ask(f"/ops/streams?user={user}", "DELETE") == {"ended": 5}
    async with http.get(f"{worker.ops_url}/ops/events", headers=headers) as events:
        assert (await events.content.readline()).startswith(b"retry:")
    async with http.post(f"{worker.ops_url}/ops/drain") as refused:
        assert refused.status == 401
    assert await ask("/ops/drain", "POST") == {"status": "draining"}
    assert worker.wait() == 0


async def test_without_a_topic_of_workers_each_dashboard_shows_all_workers_of_the_machine(
    topics: MakeTopics, start_worker: StartWorker, http: aiohttp.ClientSession
) -> None:
    worker = await start_worker(await topics(2), workers=2, workers_topic="")
    await until_up(worker)
    names = {line["worker"] for line in worker.entries("worker started")}
    async with http.get(f"{worker.ops_url}/ops/events") as events:

        async def shown() -> bool:
            line = await events.content.readline()
            if not line.startswith(b"data:"):
                return False
            found = json.loads(line.removeprefix(b"data:"))
            if not isinstance(found, dict) or "workers" not in found:
                return False
            return {it["worker"] for it in found["workers"]} == names

        await eventually("the dashboard shows both workers", shown)
    os.kill(pid_of(worker, 0), signal.SIGKILL)
    await worker.wait_for_entries("worker died; it is restarted")
    await until_up(worker)
    assert worker.exit_code is None


async def until_up_by_readyz(http: aiohttp.ClientSession, worker: Worker) -> None:
    async def up() -> bool:
        async with http.get(f"{worker.ops_url}/readyz") as response:
            found = (await response.json())["workers"].values()
        return len(found) == 2 and all(each["ready"] for each in found)

    await eventually("both workers are ready", up)


async def test_at_the_start_one_worker_accepts_clients_and_the_others_once_they_are_ready(
    topics: MakeTopics, start_worker: StartWorker
) -> None:
    """Another worker would answer 503, after which an `EventSource` gives up."""
    worker = await start_worker(await topics(2), workers=3)
    begun, ready = [
        {line["worker"]: line["timestamp"] for line in await worker.wait_for_entries(event, 3)}
        for event in ("listening", "ready")
    ]
    slots = {line["worker"]: line["slot"] for line in worker.entries("worker started")}
    assert slots.keys() == begun.keys() == ready.keys()
    assert all(begun[name] > ready[name] for name, slot in slots.items() if slot)


async def test_every_line_of_the_log_names_its_worker(
    topics: MakeTopics, start_worker: StartWorker, open_stream: OpenStream, user: str
) -> None:
    worker = await start_worker(await topics(2), workers=2)
    await until_up(worker)
    client = await open_stream(worker, user)
    await client.drop()
    await worker.wait_for_entries("stream closed")
    names = {line["worker"] for line in worker.entries("worker started")}
    own = {"starting", "supervising"}
    assert len(names) == 2
    assert {line["worker"] for line in worker.entries() if line["event"] not in own} == names


async def test_settings_that_cannot_work_end_the_start_with_one_line(tmp_path: Path) -> None:
    settings = {
        "GATEWAY_WORKERS": "2",
        "GATEWAY_JWT_PUBLIC_KEY_FILE": str(tmp_path / "missing.pem"),
    }
    worker = Worker(settings, tmp_path / "log")
    try:
        assert worker.wait() == 2
    finally:
        worker.end()
    error = worker.log().splitlines()[-1]
    assert error.startswith("error: ")
    assert "missing.pem" in error
