"""Broadcasts: the cost of each delivery, compared with the floor and Nchan."""

from __future__ import annotations

from dataclasses import dataclass

from tests.tools.bench.audience import audience
from tests.tools.bench.delivery import Delivered, Pace, compare, gateway
from tests.tools.bench.figures import GATEWAY, NCHAN, SOCKETS, Quantity, Sample
from tests.tools.bench.ground import Ground
from tests.tools.bench.helper import Helper, helper
from tests.tools.bench.nchan import is_installed, nchan
from tests.tools.bench.server import Dialect, Server

CPU = Quantity("CPU for one delivery", "µs")
SIZE = Quantity("size of one delivery", "bytes")


@dataclass(frozen=True)
class Broadcast:
    """Each event to all streams; then the same bytes by the bare server and by Nchan."""

    pace: Pace
    streams: int

    @property
    def title(self) -> str:
        return f"{self.pace.rate:,.0f} events/s, each to {self.streams:,} streams"

    async def measure(self, ground: Ground) -> Sample:
        """Measure the worker, then the others, with the same clients and sizes."""
        async with gateway(ground, 0) as (server, writer):
            own = await self._deliver(server, writer, Dialect.GATEWAY)
        size = own.tally.size / own.tally.events
        servers = {GATEWAY: own}
        async with helper("floor", round(size)) as floor:
            server = Server(await floor.answer(int), floor.pid)
            servers[SOCKETS] = await self._deliver(server, floor, Dialect.GATEWAY)
        if is_installed():
            async with nchan(ground.folder) as server, helper("posts", server.port, 0) as writer:
                servers[NCHAN] = await self._deliver(server, writer, Dialect.NCHAN_BROADCAST)
        return compare(CPU, servers) | {SIZE: size}

    async def _deliver(self, server: Server, writer: Helper, dialect: Dialect) -> Delivered:
        async with audience(server.port, self.streams, dialect=dialect) as clients:
            return await self.pace.deliver(writer, clients, server.pid, self.streams)
