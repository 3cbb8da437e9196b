"""Clients that resume on a running worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from tests.tools.bench.absence import LIVE, Absence, live, to_each
from tests.tools.bench.audience import Audience, audience
from tests.tools.bench.figures import GATEWAY, NCHAN, Quantity, Sample, beside
from tests.tools.bench.ground import Ground
from tests.tools.bench.helper import helper
from tests.tools.bench.nchan import is_installed, nchan
from tests.tools.bench.pacing import Written
from tests.tools.bench.process import cpu_seconds
from tests.tools.bench.server import Dialect, Server

CPU = Quantity("CPU for one client", "µs")
SERVED = Quantity("until all are served", "s")


class Back(NamedTuple):
    """Cost of serving all resuming clients: µs for each, and seconds for all."""

    cpu: float
    seconds: float


@dataclass(frozen=True)
class Resume:
    """All clients resume at once, from the tail unless it is too short."""

    absence: Absence
    beside_nchan: bool = False

    @property
    def title(self) -> str:
        return f"{self.absence}, warm worker"

    async def measure(self, ground: Ground) -> Sample:
        """Measure the worker, then Nchan."""
        servers = {GATEWAY: await self._gateway(ground)}
        if self.beside_nchan and is_installed():
            servers[NCHAN] = await self._nchan(ground)
        return {
            **beside(CPU, {name: each.cpu for name, each in servers.items()}),
            **{SERVED.of(name): each.seconds for name, each in servers.items()},
        }

    async def _gateway(self, ground: Ground) -> Back:
        """Drop the clients, write, wait until the worker read it, resume the clients."""
        topics = await ground.topics(self.absence.partitions)
        async with (
            ground.worker(topics) as server,
            live(ground, server, topics.user) as (witnesses, load),
            audience(server.port, self.absence.clients) as clients,
        ):
            await clients.leave()
            await self.absence.write(ground, topics.user)
            # After an event of each of these, all earlier records were read.
            await load.ask(to_each(LIVE, 1), Written)
            await witnesses.collect(LIVE)
            return await self._come_back(server, clients)

    async def _nchan(self, ground: Ground) -> Back:
        """Measure Nchan, whose clients get an id with their first event."""
        away = self.absence
        async with (
            nchan(ground.folder) as server,
            helper("posts", server.port, away.clients) as posts,
            audience(server.port, away.clients, dialect=Dialect.NCHAN) as clients,
        ):
            await posts.ask(to_each(away.clients, 1), Written)
            await clients.collect(away.clients)
            await clients.leave()
            await posts.ask(to_each(away.clients, away.missed), Written)
            return await self._come_back(server, clients)

    async def _come_back(self, server: Server, clients: Audience) -> Back:
        away = self.absence
        before = cpu_seconds(server.pid)
        seconds = await clients.come_back(server.port, away.missed)
        spent = cpu_seconds(server.pid) - before
        await clients.collect(away.events)
        return Back(spent / away.clients * 1e6, seconds)
