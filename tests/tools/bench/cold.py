"""Clients that resume on a newly started worker."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

from tests.tools.bench.absence import Absence, bare_pass, live
from tests.tools.bench.audience import audience
from tests.tools.bench.delivery import P99
from tests.tools.bench.figures import AIOKAFKA, GATEWAY, Quantity, Sample, beside
from tests.tools.bench.ground import Ground
from tests.tools.bench.helper import Helper
from tests.tools.bench.pacing import Order, Written
from tests.tools.bench.process import cpu_seconds
from tests.tools.bench.resume import SERVED

CPU = Quantity("CPU for all clients", "s")

LIVE_PER_SECOND = 50.0
"""Few live users: small cost, but they measure the latency meanwhile."""

LIVE_SECONDS = 0.5
"""Length of one order; the last one ends when all clients are served."""


@dataclass(frozen=True)
class Cold:
    """All clients resume at once while other streams of the new worker are live."""

    absence: Absence

    @property
    def title(self) -> str:
        return f"{self.absence}, cold worker"

    async def measure(self, ground: Ground) -> Sample:
        """Leave one worker, write, resume on another; then read the topic with aiokafka only.

        The CPU of the new worker until all clients are served counts, live streams included.
        """
        away = self.absence
        topics = await ground.topics(away.partitions)
        async with AsyncExitStack() as stack:
            async with ground.worker(topics) as former:
                clients = await stack.enter_async_context(audience(former.port, away.clients))
                await clients.leave()
            await away.write(ground, topics.user)
            server = await stack.enter_async_context(ground.worker(topics))
            before = cpu_seconds(server.pid)
            others, load = await stack.enter_async_context(live(ground, server, topics.user))
            back = asyncio.create_task(clients.come_back(server.port, away.missed))
            written = await write_until(back, load)
            spent = cpu_seconds(server.pid) - before
            seconds = await back
            await clients.collect(away.events)
            tally = await others.collect(written)
        floor = await bare_pass(ground, topics.user)
        return {
            **beside(CPU, {GATEWAY: spent, AIOKAFKA: floor.cpu}),
            SERVED: seconds,
            P99: tally.latency_ms(0.99),
        }


async def write_until(done: asyncio.Task[float], load: Helper) -> int:
    """Write to the live users until the task is done; return the number of events."""
    written = 0
    while not done.done():
        order = Order(LIVE_PER_SECOND, LIVE_SECONDS)
        written += (await load.ask(order, Written)).events
    return written
