"""`gateway serve --workers 2` as a process: streams, a worker that is killed, reload, drain."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiokafka import AIOKafkaProducer

from tests.child import is_listening
from tests.client import StreamClient
from tests.conftest import MakeTopics, StartWorker
from tests.eventually import eventually
from tests.integration.conftest import OpenStream, new_user
from tests.records import RecordWriter
from tests.tokens import mint
from tests.worker import Worker, status

PARTITIONS = 8

OPS_TOKEN = "open-sesame"


def pid_of(worker: Worker, slot: int) -> int:
    """Return the process of the worker in a slot."""
    return int(
        [line for line in worker.entries("worker started") if line["slot"] == slot][-1]["pid"]
    )


async def until_up(worker: Worker, number: int = 2) -> None:
    await worker.wait_for_metric("gateway_worker_processes", number, state="up")


class Follower:
    """A client that reconnects by its id whenever its stream ends, as an `EventSource` does."""

    def __init__(self, worker: Worker, user: str) -> None:
        self.user = user
        self.client = StreamClient(worker.events_url, mint(user))
        self.connections = 0

    async def run(self) -> None:
        async with self.client:
            while True:
                try:
                    if self.connections:
                        await self.client.reconnect()
                    else:
                        await self.client.connect()
                    self.connections += 1
                    assert self.client.status == 200
                    await self.client.wait_for_end(math.inf)
                except OSError:  # refused, or cut before the head
                    pass
                await asyncio.sleep(0.05)


@asynccontextmanager
async def followers(worker: Worker, number: int) -> AsyncIterator[list[Follower]]:
    found = [Follower(worker, new_user()) for _ in range(number)]
    tasks = [asyncio.create_task(follower.run()) for follower in found]
    try:
        for follower in found:
            await follower.client.wait_for(lambda client: client.last_event_id)
        yield found
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert not [it for it in results if not isinstance(it, asyncio.CancelledError)], results


async def write_until(stop: asyncio.Event, write: RecordWriter, found: Sequence[Follower]) -> int:
    """Write one numbered event to each user after the other; return how many each has got."""
    number = 0
    while not stop.is_set():
        for follower in found:
            await write.numbered(follower.user, [number])
        number += 1
        await asyncio.sleep(0.02)
    return number


async def all_have_some(found: Sequence[Follower]) -> None:
    """Return when each client has events, so that others are on their way."""
    for follower in found:
        await follower.client.wait_for(lambda client: len(client.numbers) >= 3)


async def all_received(found: Sequence[Follower], number: int) -> None:
    """Wait until each client has each event; `AssertionError` for one repeated or out of order."""
    for follower in found:
        await follower.client.wait_for(lambda client: len(client.numbers) >= number)
        assert follower.client.numbers == list(range(number))
        assert follower.client.own("gap") == []


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


async def test_sighup_replaces_the_workers_and_no_client_loses_an_event(
    topics: MakeTopics, start_worker: StartWorker, producer: AIOKafkaProducer, tmp_path: Path
) -> None:
    served = await topics(PARTITIONS)
    config = tmp_path / "gateway.toml"
    config.write_text("retry_ms = 1234\n", encoding="utf-8")
    worker = await start_worker(
        served, workers=2, sharding="handover", drain_seconds=1, arguments=("--config", config)
    )
    await until_up(worker)
    former = [pid_of(worker, slot) for slot in (0, 1)]
    write = RecordWriter(producer, served)
    async with followers(worker, 10) as found:
        assert all(617 <= (follower.client.retry or 0) <= 1851 for follower in found)
        stop = asyncio.Event()
        writing = asyncio.create_task(write_until(stop, write, found))
        await all_have_some(found)
        config.write_text("retry_ms = 4321\n", encoding="utf-8")
        worker.signal(signal.SIGHUP)
        await worker.wait_for_entries("all workers are replaced")
        assert not {pid_of(worker, slot) for slot in (0, 1)} & set(former)
        stop.set()
        await all_received(found, await writing)
        await eventually(
            "each client has reconnected", lambda: all(each.connections > 1 for each in found)
        )
    async with followers(worker, 4) as found:
        assert all(2160 <= (follower.client.retry or 0) <= 6482 for follower in found)
    assert worker.entries("worker died; it is restarted") == []


async def test_a_reload_that_fails_at_a_later_worker_names_those_that_it_replaced(
    topics: MakeTopics, start_worker: StartWorker, tmp_path: Path
) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text("workers = 2\n", encoding="utf-8")
    worker = await start_worker(await topics(2), arguments=("--config", config))
    await until_up(worker)
    partly = "settings applied to some workers only; send SIGHUP again for the others"
    for attempt in range(1, 6):
        # The second replacement is killed before it accepts clients; another attempt is made if
        # that was too late.
        started = len(worker.entries("worker started"))
        worker.signal(signal.SIGHUP)
        (*_, line) = await worker.wait_for_entries("worker started", started + 2)
        assert line["slot"] == 1
        os.kill(line["pid"], signal.SIGKILL)

        async def told(attempt: int = attempt) -> bool:
            applied = len(worker.entries("all workers are replaced"))
            return bool(worker.entries(partly)) or applied >= attempt

        await eventually("the reload ends", told)
        if worker.entries(partly):
            break
        await until_up(worker)
    (line,) = worker.entries(partly)
    assert (line["replaced"], line["not_replaced"]) == ([0], [1])
    assert line["reason"] == "the new worker ended at its start; see its log"
    assert worker.entries("settings not applied; the former ones stay in force") == []
    await until_up(worker)
    worker.signal(signal.SIGHUP)
    await worker.wait_for_entries("all workers are replaced")
    await until_up(worker)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("retry_ms = -1\n", "GATEWAY_RETRY_MS: Input should be greater than or equal to 0"),
        ("retry_ms = \n", "is not valid TOML"),
        ("kafka_ssl_cafile = '/nowhere.pem'\nkafka_security_protocol = 'SSL'\n", "/nowhere.pem"),
        ("workers = 3\n", "GATEWAY_WORKERS cannot change while the supervisor runs"),
    ],
    ids=["value", "toml", "file", "fixed"],
)
async def test_invalid_settings_change_nothing_and_are_reported_in_one_line(
    topics: MakeTopics,
    start_worker: StartWorker,
    open_stream: OpenStream,
    tmp_path: Path,
    user: str,
    text: str,
    reason: str,
) -> None:
    served = await topics(2)
    config = tmp_path / "gateway.toml"
    config.write_text("workers = 2\n", encoding="utf-8")
    worker = await start_worker(served, arguments=("--config", config))
    await until_up(worker)
    client = await open_stream(worker, user)
    former = [pid_of(worker, slot) for slot in (0, 1)]
    config.write_text(text if "workers" in text else f"workers = 2\n{text}", encoding="utf-8")
    worker.signal(signal.SIGHUP)
    (line,) = await worker.wait_for_entries("settings not applied; the former ones stay in force")
    assert reason in line["reason"]
    assert "\n" not in line["reason"]
    await until_up(worker)
    assert client.is_open
    for pid in former:
        os.kill(pid, 0)  # it runs


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
    await until_up(worker, 3)
    slots = {line["worker"]: line["slot"] for line in worker.entries("worker started")}
    ready = {line["worker"]: line["timestamp"] for line in worker.entries("ready")}
    begun = {line["worker"]: line["timestamp"] for line in worker.entries("listening")}
    assert len(begun) == 3
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
