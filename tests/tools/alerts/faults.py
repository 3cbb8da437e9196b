"""The faults: each one makes its alerts fire.

A fault starts when its block is entered and is undone when the block is left.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import aiohttp
from aiokafka.admin import NewTopic, RecordsToDelete
from aiokafka.structs import TopicPartition

from tests.brokers.metadata import admin_client, create_topics
from tests.eventually import eventually
from tests.integration.poison import user_of
from tests.issuer import SigningKey
from tests.tokens import bearer
from tests.tools.alerts.client_faults import (
    MANY,
    bad_requests,
    bad_tokens,
    clients_that_never_read,
    full_worker,
    made_up_ids,
    old_clients,
    one_user_for_all,
    running,
)
from tests.tools.alerts.flood import flood_batch, writer
from tests.tools.alerts.ground import LOG, PARTITIONS, TOPICS, Ground, make_topics
from tests.writers.libraries import librdkafka
from tests.writers.programs import Row

STOPPED_SECONDS = 0.4
RUNNING_SECONDS = 0.1

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
