"""Clients that reconnect, and the state of worker processes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from tests.client import StreamClient
from tests.integration.conftest import new_user
from tests.records import RecordWriter
from tests.tokens import mint
from tests.worker import Worker

PARTITIONS = 8


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
