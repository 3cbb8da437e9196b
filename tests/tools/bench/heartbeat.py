"""Heartbeats: the cost of one, compared with the same bytes on bare sockets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from tests.tools.bench.audience import audience
from tests.tools.bench.figures import GATEWAY, SOCKETS, Quantity, Sample, beside
from tests.tools.bench.ground import Ground
from tests.tools.bench.helper import helper
from tests.tools.bench.pacing import Order, Written
from tests.tools.bench.process import cpu_seconds
from tests.tools.bench.server import Dialect
from tests.tools.bench.tally import Tally, Void

LATE_COLLECTIONS = 100
"""How often to wait for a first heartbeat after the measurement, on a busy machine."""

CPU = Quantity("CPU for one heartbeat", "µs")


@dataclass(frozen=True)
class Heartbeat:
    """Streams without events, each with a heartbeat every `interval` seconds, for `seconds`."""

    streams: int
    interval: float
    seconds: float

    @property
    def title(self) -> str:
        return f"{self.streams:,} streams, each with a heartbeat every {self.interval:g} s"

    async def measure(self, ground: Ground) -> Sample:
        """Measure a worker with and without heartbeats, then bare sockets."""
        idle, _ = await self._worker(ground, 600.0)
        busy, tally = await self._worker(ground, self.interval)
        if not tally.heartbeats:
            raise Void("no heartbeat arrived")
        own = (busy - idle) / tally.heartbeats
        size = tally.size // tally.heartbeats
        async with helper("floor", size) as floor:
            port = await floor.answer(int)
            async with audience(port, self.streams, dialect=Dialect.GATEWAY) as clients:
                await asyncio.sleep(self.interval)
                before = cpu_seconds(floor.pid)
                order = Order(1 / self.interval, self.seconds)
                written = await floor.ask(order, Written)
                await clients.collect(written.events * self.streams)
                bare = (cpu_seconds(floor.pid) - before) / (written.events * self.streams)
        return beside(CPU, {GATEWAY: own * 1e6, SOCKETS: bare * 1e6})

    async def _worker(self, ground: Ground, interval: float) -> tuple[float, Tally]:
        """Return the seconds of CPU of the worker, and what its clients received."""
        topics = await ground.topics()
        async with (
            ground.worker(topics, GATEWAY_HEARTBEAT_SECONDS=str(interval)) as server,
            audience(server.port, self.streams) as clients,
        ):
            await asyncio.sleep(self.interval)
            await clients.collect(0)  # what came with the openings does not count
            before = cpu_seconds(server.pid)
            await asyncio.sleep(self.seconds)
            tally = await clients.collect(0)
            for _ in range(LATE_COLLECTIONS):
                if tally.heartbeats or interval > self.seconds:
                    break
                tally.add(await clients.collect(0))
            spent = cpu_seconds(server.pid) - before
            return spent, tally
