"""Streams without events: cost of opening and keeping one, compared with others.

The floor, a bare asyncio connection, also validates the memory figure: a stream cannot need less
than its connection.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import NamedTuple

from tests.tools.bench.audience import audience
from tests.tools.bench.figures import GATEWAY, NCHAN, SOCKETS, Quantity, Sample, beside
from tests.tools.bench.ground import Ground
from tests.tools.bench.helper import helper
from tests.tools.bench.nchan import is_installed, nchan
from tests.tools.bench.process import cpu_seconds, grown_kb, resident_kb
from tests.tools.bench.server import Dialect, Server

MEMORY = Quantity("memory of one stream", "KB")
OPENING = Quantity("CPU to open one stream", "µs")
IDLE = Quantity("CPU of all while idle", "% of a core")


class Watched(NamedTuple):
    """KB per stream, µs to open one, and percent of a core for all of one server."""

    memory: float
    opening: float
    idle: float


@dataclass(frozen=True)
class Idle:
    """A number of streams that are opened and then idle."""

    streams: int
    seconds: float = 5.0
    settle: float = 2.0
    """Seconds between the last opening and the measurement, for deferred work."""

    @property
    def title(self) -> str:
        return f"{self.streams:,} idle streams"

    async def measure(self, ground: Ground) -> Sample:
        """Open the streams and measure each server; only the worker verifies tokens."""
        async with ground.worker(await ground.topics()) as server:
            servers = {GATEWAY: await self._watch(server, Dialect.GATEWAY)}
        async with helper("floor", 0) as floor:
            server = Server(await floor.answer(int), floor.pid)
            servers[SOCKETS] = await self._watch(server, Dialect.GATEWAY)
        if is_installed():
            async with nchan(ground.folder) as server:
                servers[NCHAN] = await self._watch(server, Dialect.NCHAN)
        return {
            **beside(MEMORY, {name: each.memory for name, each in servers.items()}),
            **beside(OPENING, {name: each.opening for name, each in servers.items()}),
            **{IDLE.of(name): each.idle for name, each in servers.items()},
        }

    async def _watch(self, server: Server, dialect: Dialect) -> Watched:
        empty, closed = resident_kb(server.pid), cpu_seconds(server.pid)
        async with audience(server.port, self.streams, dialect=dialect) as clients:
            opened = cpu_seconds(server.pid)
            await asyncio.sleep(self.settle)
            before = cpu_seconds(server.pid)
            await asyncio.sleep(self.seconds)
            spent = cpu_seconds(server.pid) - before
            memory = grown_kb(server.pid, empty)
            await clients.collect(0)
        return Watched(
            memory / self.streams,
            (opened - closed) / self.streams * 1e6,
            spent / self.seconds * 100,
        )
