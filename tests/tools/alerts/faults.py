"""The faults: each one makes its alerts fire.

A fault starts when its block is entered and is undone when the block is left.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import aiohttp
from aiokafka.admin import NewTopic, RecordsToDelete
from aiokafka.structs import TopicPartition

from tests.brokers.metadata import admin_client, create_topics
from tests.eventually import eventually
from tests.integration.poison import now, user_of
from tests.issuer import SigningKey
from tests.tokens import bearer, mint
from tests.tools.alerts.flood import flood_batch, writer
from tests.tools.alerts.ground import LOG, MAX_STREAMS, PARTITIONS, TOPICS, Ground, make_topics
from tests.writers.libraries import librdkafka
from tests.writers.programs import Row

MANY = 40
"""More than 10 clients, and more than one for each 20 streams."""

PAUSE_SECONDS = 0.2
STOPPED_SECONDS = 0.4
RUNNING_SECONDS = 0.1

AWAY_MS = 7_200_000
"""Twice the limit of a replay."""

FLOOD_RATE = 500.0
"""Batches a second: 2 million records; a worker with a whole core reads 0.9 million a second."""

FLOOD_BATCHES = 7500
"""30 million records, which a scan reads in half a minute."""


class Fault(NamedTuple):
    """A fault and the alerts that must fire."""

    what: str
    alerts: tuple[str, ...]
    inject: Callable[[Ground], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def killed_worker(ground: Ground) -> AsyncIterator[None]:
    ground.second.kill()
    try:
        yield
    finally:
        ground.second = await ground.start(ground.second)


@asynccontextmanager
async def frozen_worker(ground: Ground) -> AsyncIterator[None]:
    ground.second.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        ground.second.signal(signal.SIGCONT)


@asynccontextmanager
async def restarts(ground: Ground) -> AsyncIterator[None]:
    async def restart_again_and_again() -> None:
        while True:
            await ground.restart_second()

    async with running(restart_again_and_again()):
        yield
    await ground.second.wait_until_ready()


@asynccontextmanager
async def stopped_kafka(ground: Ground) -> AsyncIterator[None]:
    await asyncio.to_thread(ground.node.end)
    try:
        yield
    finally:
        await ground.node.start()


@asynccontextmanager
async def starved_worker(ground: Ground) -> AsyncIterator[None]:
    async def starve() -> None:
        while True:
            ground.second.signal(signal.SIGSTOP)
            await asyncio.sleep(STOPPED_SECONDS)
            ground.second.signal(signal.SIGCONT)
            await asyncio.sleep(RUNNING_SECONDS)

    async with running(starve()):
        yield
    ground.second.signal(signal.SIGCONT)


@asynccontextmanager
async def overload(ground: Ground) -> AsyncIterator[None]:
    other, user = (user_of(LOG.partition, PARTITIONS) for _ in range(2))
    content = flood_batch(other, user)
    async with (
        ground.followed(user=user),
        writer(ground.bootstrap, LOG, content) as flood,
        running(flood.write_until_cancelled(FLOOD_RATE)),
    ):
        with own_core(ground.first.pid):
            yield


@contextmanager
def own_core(pid: int) -> Iterator[None]:
    """Remove the CPU limit of a process, if permitted."""
    usual = os.sched_getscheduler(pid)
    with suppress(PermissionError):
        os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(pid, usual, os.sched_param(0))


@asynccontextmanager
async def long_absence(ground: Ground) -> AsyncIterator[None]:
    other, user = (user_of(LOG.partition, PARTITIONS) for _ in range(2))
    async with ground.followed() as before:
        pass
    async with writer(ground.bootstrap, LOG, flood_batch(other, user)) as flood:
        await flood.write(FLOOD_BATCHES)
    await ground.write_noise(500)
    with own_core(ground.first.pid):
        async with ground.crowd(MANY, last_id=before):
            yield


@asynccontextmanager
async def few_files(ground: Ground) -> AsyncIterator[None]:
    pid = ground.second.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    opened = int(await ground.second.metric("process_open_fds"))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (opened + 1, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


@asynccontextmanager
async def short_retention(ground: Ground) -> AsyncIterator[None]:
    async with ground.followed() as before:
        end = await ground.write_noise(2000)
    async with admin_client(ground.bootstrap) as admin:
        await admin.delete_records({TopicPartition(*LOG): RecordsToDelete(end)})
    async with ground.crowd(MANY, last_id=before):
        yield


@asynccontextmanager
async def recreated_topics(ground: Ground) -> AsyncIterator[None]:
    async with ground.followed(MANY):
        async with admin_client(ground.bootstrap) as admin:
            await admin.delete_topics([TOPICS.user, TOPICS.broadcast])

            async def gone() -> bool:
                return not {TOPICS.user, TOPICS.broadcast} & set(await admin.list_topics())

            await eventually("the topics are deleted", gone)
        await make_topics(ground.bootstrap)
        yield


@asynccontextmanager
async def deleted_topic(ground: Ground) -> AsyncIterator[None]:
    async with ground.followed():
        async with admin_client(ground.bootstrap) as admin:
            await admin.delete_topics([TOPICS.broadcast])
        try:
            yield
        finally:
            await create_topics(ground.bootstrap, [NewTopic(TOPICS.broadcast, 1, 1)])


@asynccontextmanager
async def failing_worker(ground: Ground) -> AsyncIterator[None]:
    ground.second.kill()
    ground.second = await ground.start(ground.second, "tests.tools.alerts.failing_worker")
    try:
        yield
    finally:
        ground.second.kill()
        ground.second = await ground.start(ground.second)


@asynccontextmanager
async def old_clients(ground: Ground) -> AsyncIterator[None]:
    since = str(now() - AWAY_MS)
    users = [user_of(LOG.partition, PARTITIONS) for _ in range(MANY)]
    await ground.write_noise(4000, age_ms=AWAY_MS // 2 + 600_000)
    async with asking(ground, [({"since": since}, bearer(mint(user))) for user in users]):
        yield


@asynccontextmanager
async def made_up_ids(ground: Ground) -> AsyncIterator[None]:
    async with ground.crowd(MANY, last_id="1234"):
        yield


@asynccontextmanager
async def clients_that_never_read(ground: Ground) -> AsyncIterator[None]:
    async with ground.crowd(MANY, silent=True), ground.writing() as write:

        async def come_in() -> bool:
            return await ground.first.metric("gateway_streams_open") >= MANY

        await eventually("all are connected", come_in)
        text = b'"%s"' % (b"x" * 1000)
        await asyncio.gather(*(write.broadcast(data=text) for _ in range(600)))
        yield


@asynccontextmanager
async def full_worker(ground: Ground) -> AsyncIterator[None]:
    async def keep_coming() -> None:
        while True:
            async with asking(ground, [({}, bearer(mint("newcomer")))]):
                await asyncio.sleep(PAUSE_SECONDS)

    async with ground.followed(MAX_STREAMS), running(keep_coming()):
        yield


@asynccontextmanager
async def one_user_for_all(ground: Ground) -> AsyncIterator[None]:
    async with ground.followed() as _, ground.crowd(2 * MANY, user="crowd"):
        yield


@asynccontextmanager
async def bad_tokens(ground: Ground) -> AsyncIterator[None]:
    async with asking(ground, [({}, bearer("no token"))] * MANY):
        yield


@asynccontextmanager
async def bad_requests(ground: Ground) -> AsyncIterator[None]:
    async with asking(ground, [({"categories": "none"}, bearer(mint("alice")))] * MANY):
        yield


@asynccontextmanager
async def keys_away(ground: Ground) -> AsyncIterator[None]:
    ground.provider.status = 500
    token = SigningKey("ES256", "next").mint()  # the worker then fetches the keys
    try:
        async with (
            aiohttp.ClientSession() as http,
            http.get(ground.keyed.events_url, headers=bearer(token)) as response,
        ):
            assert response.status == 401
        yield
    finally:
        ground.provider.status = 200


@asynccontextmanager
async def other_partitioner(ground: Ground) -> AsyncIterator[None]:
    async with ground.followed():
        rows = [Row(f"user-{number}", "{}") for number in range(20)]
        await librdkafka(ground.bootstrap, TOPICS.user, rows, Path())
        yield


@asynccontextmanager
async def poison(ground: Ground) -> AsyncIterator[None]:
    user = user_of(LOG.partition, PARTITIONS)
    async with ground.followed(user=user), ground.writing() as write:
        await write.record(user.encode(), b"no JSON")
        yield


@asynccontextmanager
async def new_type(ground: Ground) -> AsyncIterator[None]:
    user = user_of(LOG.partition, PARTITIONS)
    async with ground.followed(user=user), ground.writing() as write:
        await write.event(user, "brand.new")
        yield


@asynccontextmanager
async def asking(
    ground: Ground, requests: list[tuple[Mapping[str, str], Mapping[str, str]]]
) -> AsyncIterator[None]:
    """Send stream requests with query and headers to the first worker; keep open streams."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        url = ground.first.events_url
        answers = await asyncio.gather(*(http.get(url, params=p, headers=h) for p, h in requests))
        try:
            yield
        finally:
            for answer in answers:
                answer.close()


@asynccontextmanager
async def running(work: object) -> AsyncIterator[None]:
    """Run a task while the block runs; its failure is raised at the end of the block."""
    assert asyncio.iscoroutine(work)
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


FAULTS = [
    Fault("a worker is killed", ("GatewayWorkerDown",), killed_worker),
    Fault("a worker is frozen (SIGSTOP)", ("GatewayWorkerDown",), frozen_worker),
    Fault("a worker is killed and restarted repeatedly", ("GatewayWorkerRestarting",), restarts),
    Fault(
        "Kafka is stopped",
        ("GatewayKafkaAway", "GatewayNobodyReady", "GatewayWorkerNotReady"),
        stopped_kafka,
    ),
    Fault("a worker gets a fifth of a core, in slices", ("GatewayLoopLate",), starved_worker),
    Fault(
        "more records than a worker reads",
        ("GatewayLagging", "GatewayDeliverySlow", "GatewayWorkerBusy"),
        overload,
    ),
    Fault(
        "clients reconnect after 30 million records",
        ("GatewayReplaysWaiting", "GatewayReplaysSlow"),
        long_absence,
    ),
    Fault("the limit of files is lowered", ("GatewayFilesNearLimit",), few_files),
    Fault("records are deleted before clients resume", ("GatewayGapsExpired",), short_retention),
    Fault("topics are recreated under open streams", ("GatewayGapsReset",), recreated_topics),
    Fault("a topic is deleted under open streams", ("GatewayPartitionUnread",), deleted_topic),
    Fault("a worker has a bug", ("GatewayInternalErrors",), failing_worker),
    Fault("clients reconnect after two hours", ("GatewayGapsLimit",), old_clients),
    Fault("clients send invalid ids", ("GatewayGapsInvalid",), made_up_ids),
    Fault("clients never read", ("GatewayClosesSlow",), clients_that_never_read),
    Fault(
        "a full worker gets more clients",
        ("GatewayStreamsNearLimit", "GatewayTurnsAway"),
        full_worker,
    ),
    Fault("one user opens 80 streams", ("GatewayUserLimits",), one_user_for_all),
    Fault("invalid tokens", ("GatewayUnauthorized",), bad_tokens),
    Fault("an unknown category", ("GatewayBadRequests",), bad_requests),
    Fault("the URL of the keys fails", ("GatewayKeysStale",), keys_away),
    Fault(
        "librdkafka writes with its default partitioner",
        ("GatewayPartitionerMismatch",),
        other_partitioner,
    ),
    Fault("a value is not JSON", ("GatewayUnreadableRecords",), poison),
    Fault("an unregistered type", ("GatewayUnknownTypes",), new_type),
]
"""In the order of `make alerts`."""
