"""Workers behind nginx and HAProxy, each with the shipped files."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from gateway.core.partitioner import partitioner
from gateway.demo.broker import EmbeddedBroker
from tests.balancers.shipped import BALANCERS, Balancer
from tests.brokers.metadata import create_topics
from tests.client import StreamClient
from tests.conftest import Broker, MakeTopics, StartWorker, use_worker, worker_settings
from tests.eventually import DEADLINE, eventually
from tests.integration.conftest import new_user
from tests.programs import require
from tests.records import RecordWriter, Topics
from tests.tokens import bearer, mint
from tests.worker import Worker, status

PARTITIONS = 24
USERS = 24

only_embedded = pytest.mark.parametrize("broker", ["embedded"], indirect=True, scope="session")


@pytest.fixture(params=BALANCERS, ids=lambda kind: kind.program)
def kind(request: pytest.FixtureRequest) -> type[Balancer]:
    found: type[Balancer] = request.param
    require(found.program, in_ci=False)
    return found


class Audience:
    """One client for each user; each reconnects when its stream ends."""

    def __init__(self, balancer: Balancer, users: list[str]) -> None:
        self._clients = {
            user: StreamClient(balancer.events_url, mint(user), balancer.client_context)
            for user in users
        }

    async def __aenter__(self) -> Self:
        await asyncio.gather(*(client.connect() for client in self._clients.values()))
        await self._wait(lambda client: client.last_event_id)
        self._staying = [asyncio.create_task(self._stay(c)) for c in self._clients.values()]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._staying:
            task.cancel()
        await asyncio.gather(*self._staying, return_exceptions=True)
        for client in self._clients.values():
            await client.__aexit__(None, None, None)

    async def have(self, count: int) -> None:
        """Return when each client has the events 0 to `count` - 1, once and in order."""
        await self._wait(lambda client: len(client.data) >= count)
        for client in self._clients.values():
            assert client.numbers == list(range(count))
            assert client.own("gap") == []

    async def _stay(self, client: StreamClient) -> None:
        while True:
            await client.wait_for_end(math.inf)
            await asyncio.sleep((client.retry or 100) / 1000)
            await client.reconnect()
            assert client.status == 200, "an EventSource gives up at any other"

    async def _wait(self, condition: Callable[[StreamClient], object]) -> None:
        await asyncio.gather(*(c.wait_for(condition) for c in self._clients.values()))


async def streams(*workers: Worker) -> list[int]:
    """Return the number of streams of each worker."""
    return [int(await worker.metric("gateway_streams_open")) for worker in workers]


async def have_streams(workers: list[Worker], count: int) -> bool:
    """Return whether so many streams are open; one that has reached its age is between two."""
    return sum(await streams(*workers)) == count


async def records_read(*workers: Worker) -> list[int]:
    """Return the number of records that each worker read live."""
    return [int(await worker.metric("gateway_records_read_total")) for worker in workers]


@only_embedded
async def test_shards_split_reading_and_move_between_dead_and_new_workers(
    kind: type[Balancer],
    broker: Broker,
    topics: MakeTopics,
    start_worker: StartWorker,
    producer: AIOKafkaProducer,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    served = await topics(PARTITIONS)
    settings: dict[str, Any] = {
        "sharding": "redirect",
        "retry_ms": 100,
        "max_stream_age_seconds": 4,
    }
    workers = [await start_worker(served, **settings) for _ in range(2)]
    former = await start_worker(served)
    former.kill()
    users = [new_user() for _ in range(USERS)]
    write = RecordWriter(producer, served)
    async with (
        kind(tmp_path, [*workers, former]) as balancer,
        Audience(balancer, users) as audience,
    ):
        await eventually("each user has a stream", partial(have_streams, workers, USERS))
        for user in users:
            await write.numbered(user, range(10))
        await audience.have(10)
        shares = await records_read(*workers)
        assert sum(shares) == 10 * USERS, "each record was read by one worker"
        assert all(shares), "each worker reads some"

        workers[0].kill()
        for user in users:
            await write.numbered(user, range(10, 20))
        await audience.have(20)

        environment = worker_settings(served, kafka_bootstrap=broker.bootstrap, **settings)
        new = Worker(environment, tmp_path / "new.log", former)
        request.addfinalizer(new.end)
        use_worker(request, new)
        await new.wait_until_ready()

        async def shares_streams() -> bool:
            return all(await streams(workers[1], new))

        await eventually("the new worker has streams", shares_streams)
        for user in users:
            await write.numbered(user, range(20, 30))
        await audience.have(30)
        assert all(await records_read(new))


@only_embedded
async def test_without_shards_any_worker_serves_any_user(
    kind: type[Balancer],
    topics: MakeTopics,
    start_worker: StartWorker,
    producer: AIOKafkaProducer,
    tmp_path: Path,
) -> None:
    served = await topics(1)
    workers = [await start_worker(served) for _ in range(2)]
    users = [new_user() for _ in range(USERS)]
    write = RecordWriter(producer, served)
    async with kind(tmp_path, workers) as balancer, Audience(balancer, users) as audience:
        assert all(await streams(*workers))
        for user in users:
            await write.numbered(user, range(2))
        await audience.have(2)
        for worker in workers:  # each reads everything, also what its own clients do not wait for
            await worker.wait_for_metric("gateway_records_read_total", 2 * USERS)


@only_embedded
async def test_http_2_addresses_and_a_log_without_tokens(
    kind: type[Balancer],
    topics: MakeTopics,
    start_worker: StartWorker,
    producer: AIOKafkaProducer,
    tmp_path: Path,
) -> None:
    require("curl", in_ci=False)
    served = await topics()
    worker = await start_worker(
        served,
        sharding="redirect",
        token_query="true",
        max_streams_per_address=1,
        trusted_proxies="127.0.0.1",
    )
    user = new_user()
    token = mint(user)
    async with kind(tmp_path, [worker]) as balancer:
        command = [
            *("curl", "-sSiNL", "--http2", "--cacert", str(balancer.certificates.certfile)),
            # The balancer's view of the address counts, not the client's header.
            *("--interface", "127.0.0.2", "-H", "X-Forwarded-For: 192.0.2.1"),
            *("-H", "Forwarded: for=192.0.2.2", "-H", "Accept: text/event-stream"),
            f"{balancer.events_url}?access_token={token}",
        ]
        first = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        try:
            assert first.stdout is not None
            async with asyncio.timeout(DEADLINE):
                came = await first.stdout.readuntil(b"\nid: ")
                assert b"HTTP/2 307" in came
                assert b"HTTP/2 200" in came
                # Nothing else follows on this stream that would fill a buffer of the balancer.
                await RecordWriter(producer, served).numbered(user, [0])
                await first.stdout.readuntil(b'data: {"n":0}\n\n')
            second = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            answer, _ = await second.communicate()
            assert b"HTTP/2 429" in answer
        finally:
            first.terminate()
            await first.wait()

        async def has_left() -> bool:
            return await streams(worker) == [0]

        await eventually("the worker knows that the client has left", has_left)
        await eventually(
            "the requests are logged", lambda: balancer.log().count("/api/v1/events") >= 4
        )
        shard = partitioner("murmur2")(user.encode(), 4)
        assert f"shard={shard} " in balancer.log()
        assert token not in balancer.log()


@pytest.fixture
async def own_broker() -> AsyncIterator[EmbeddedBroker]:
    async with EmbeddedBroker() as broker:
        try:
            yield broker
        finally:
            os.kill(broker.pid, signal.SIGCONT)


async def test_clients_keep_reconnecting_without_kafka_or_workers(
    kind: type[Balancer], own_broker: EmbeddedBroker, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    served = Topics("user-events", "broadcast-events")
    await create_topics(
        own_broker.bootstrap, [NewTopic(served.user, 1, 1), NewTopic(served.broadcast, 1, 1)]
    )
    async with AsyncExitStack() as stack:
        settings = worker_settings(served, kafka_bootstrap=own_broker.bootstrap)
        worker = Worker(settings, tmp_path / "log")
        stack.callback(worker.kill)
        await worker.wait_until_ready()
        balancer = await stack.enter_async_context(kind(tmp_path, [worker]))

        async def answer(accept: str) -> tuple[int, bytes]:
            """Return status and start of the response."""
            headers = {"Accept": accept, **bearer(mint("alice"))}
            async with http.get(
                balancer.events_url, headers=headers, ssl=balancer.client_context
            ) as response:
                return response.status, await response.content.readuntil(b"\n")

        os.kill(own_broker.pid, signal.SIGSTOP)

        async def not_ready() -> bool:
            return await status(http, f"{worker.ops_url}/readyz") == 503

        await eventually("the outage is reported", not_ready)
        begin = time.monotonic()
        while time.monotonic() - begin < 3:  # the balancer checks once a second
            code, retry = await answer("text/event-stream")
            assert code == 200
            assert 1500 <= int(retry.removeprefix(b"retry: ")) <= 4500, "from the worker"
            await asyncio.sleep(0.2)

        worker.kill()

        async def told_to_come_back() -> bool:
            return await answer("text/event-stream") == (200, b"retry: 5000\n")

        await eventually("the end is noticed", told_to_come_back)
        async with http.get(balancer.events_url, ssl=balancer.client_context) as response:
            assert response.status == 503, "other clients get the reason"
