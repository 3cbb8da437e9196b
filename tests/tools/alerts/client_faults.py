"""Faults that clients cause."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import aiohttp

from tests.eventually import eventually
from tests.integration.poison import now, user_of
from tests.tokens import bearer, mint
from tests.tools.alerts.ground import LOG, MAX_STREAMS, PARTITIONS, Ground


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


MANY = 40
"""More than 10 clients, and more than one for each 20 streams."""
PAUSE_SECONDS = 0.2
AWAY_MS = 7_200_000
"""Twice the limit of a replay."""
