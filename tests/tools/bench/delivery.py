"""User events: CPU for each from Kafka to the socket, and its latency.

Nchan gets the same events over HTTP; its cost of accepting them counts, like reading Kafka does for
the worker.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

from tests.tools.bench.audience import Audience, audience
from tests.tools.bench.figures import GATEWAY, NCHAN, Quantity, Sample, beside
from tests.tools.bench.ground import Ground
from tests.tools.bench.helper import Helper, helper
from tests.tools.bench.nchan import is_installed, nchan
from tests.tools.bench.pacing import Order, Written
from tests.tools.bench.process import cpu_seconds
from tests.tools.bench.server import Dialect, Server
from tests.tools.bench.tally import Tally

CPU = Quantity("CPU for one event", "µs")
P50 = Quantity("latency, p50", "ms")
P99 = Quantity("latency, p99", "ms")
RATE = Quantity("events written", "1/s")


class Delivered(NamedTuple):
    """Received events; `cpu` in µs for each event and client, `rate` in written events a second."""

    tally: Tally
    cpu: float
    rate: float


@dataclass(frozen=True)
class Pace:
    """Events a second, and the duration."""

    rate: float
    seconds: float = 5.0
    warm_up: float = 1.0
    """Seconds of warm-up with the same load: Java compiles frequently executed code."""

    async def deliver(
        self, writer: Helper, clients: Audience, pid: int, copies: int = 1
    ) -> Delivered:
        """Write, and wait until the clients checked `copies` of each event."""
        warmed = await writer.ask(Order(self.rate, self.warm_up), Written)
        await clients.collect(warmed.events * copies)
        before = cpu_seconds(pid)
        written = await writer.ask(Order(self.rate, self.seconds), Written)
        tally = await clients.collect(written.events * copies)
        spent = cpu_seconds(pid) - before
        return Delivered(tally, spent / tally.events * 1e6, written.rate)


@dataclass(frozen=True)
class Delivery:
    """Events to the users, round robin; each user has one stream."""

    pace: Pace
    streams: int
    beside_nchan: bool = False

    @property
    def title(self) -> str:
        return f"{self.pace.rate:,.0f} events/s to {self.streams:,} users"

    async def measure(self, ground: Ground) -> Sample:
        """Measure the worker, then Nchan."""
        async with gateway(ground, self.streams) as (server, writer):
            own = await self._deliver(server, writer, Dialect.GATEWAY)
        servers = {GATEWAY: own}
        if self.beside_nchan and is_installed():
            async with (
                nchan(ground.folder) as server,
                helper("posts", server.port, self.streams) as writer,
            ):
                servers[NCHAN] = await self._deliver(server, writer, Dialect.NCHAN)
        return compare(CPU, servers) | {RATE: own.rate}

    async def _deliver(self, server: Server, writer: Helper, dialect: Dialect) -> Delivered:
        async with audience(server.port, self.streams, dialect=dialect) as clients:
            return await self.pace.deliver(writer, clients, server.pid)


@dataclass(frozen=True)
class Delays:
    """The same load under several values of `GATEWAY_LIVE_DELAY_MS`: the curve of its effect."""

    pace: Pace
    streams: int
    delays: tuple[int, ...] = (0, 2, 5, 7, 10, 20)

    @property
    def title(self) -> str:
        return f"{self.pace.rate:,.0f} events/s to {self.streams:,} users, by GATEWAY_LIVE_DELAY_MS"

    async def measure(self, ground: Ground) -> Sample:
        """Measure a new worker with each value."""
        sample: Sample = {}
        for delay in self.delays:
            async with (
                gateway(ground, self.streams, GATEWAY_LIVE_DELAY_MS=str(delay)) as (server, writer),
                audience(server.port, self.streams) as clients,
            ):
                found = await self.pace.deliver(writer, clients, server.pid)
            sample[Quantity(f"{delay} ms: {CPU.name}", CPU.unit)] = found.cpu
            for quantity, part in ((P50, 0.5), (P99, 0.99)):
                value = found.tally.latency_ms(part)
                sample[Quantity(f"{delay} ms: {quantity.name}", quantity.unit)] = value
        return sample


@asynccontextmanager
async def gateway(
    ground: Ground, users: int, **settings: str
) -> AsyncIterator[tuple[Server, Helper]]:
    """Run a worker, and a helper that writes to users round robin; 0 users mean broadcasts."""
    topics = await ground.topics()
    topic = topics.user if users else topics.broadcast
    async with (
        ground.worker(topics, **settings) as server,
        helper("load", ground.bootstrap, topic, 0, users) as writer,
    ):
        yield server, writer


def compare(cpu: Quantity, servers: dict[str, Delivered]) -> Sample:
    """Return the CPU of each server, and how late its events were."""
    sample = beside(cpu, {name: each.cpu for name, each in servers.items()})
    for quantity, part in ((P50, 0.5), (P99, 0.99)):
        for name, each in servers.items():
            sample[quantity.of(name)] = each.tally.latency_ms(part)
    return sample
