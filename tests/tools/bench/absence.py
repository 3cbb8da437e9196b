"""Events that disconnected clients miss, among events of connected ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.tools.bench.audience import Audience, audience
from tests.tools.bench.ballast import AT_ONCE
from tests.tools.bench.bare_reader import Pass
from tests.tools.bench.ground import PARTITIONS, Ground
from tests.tools.bench.helper import Helper, helper
from tests.tools.bench.pacing import Order, Written
from tests.tools.bench.server import Server

LIVE = 100
"""Users whose streams stay open; they cover all 12 partitions except in 1 of 500 rounds."""

FIRST_LIVE = 1_000_000
"""Their first number, above the numbers of the disconnecting users."""

PER_SECOND = 10_000.0


@dataclass(frozen=True)
class Absence:
    """Clients disconnect and miss some events, among events of other users."""

    clients: int
    missed: int = 10
    others: int = 0
    partitions: int = PARTITIONS

    @property
    def events(self) -> int:
        """Number of all missed events."""
        return self.clients * self.missed

    def __str__(self) -> str:
        clients = f"{self.clients:,} clients resume" if self.clients > 1 else "a client resumes"
        others = f" among {self.others:,} others" if self.others else ""
        return f"{clients} {self.missed} missed events{others}"

    async def write(self, ground: Ground, topic: str) -> None:
        """Write the missed events between events of other users."""
        half = Order(self.others // 2 * AT_ONCE, 1 / AT_ONCE)
        async with (
            helper("ballast", ground.bootstrap, topic) as ballast,
            helper("load", ground.bootstrap, topic, 0, self.clients) as load,
        ):
            await ballast.ask(half, Written)
            await load.ask(to_each(self.clients, self.missed), Written)
            await ballast.ask(half, Written)


def to_each(users: int, events: int) -> Order:
    """Return an order of events for the users, round robin."""
    return Order(PER_SECOND, users * events / PER_SECOND)


@asynccontextmanager
async def live(
    ground: Ground, server: Server, topic: str
) -> AsyncIterator[tuple[Audience, Helper]]:
    """Keep `LIVE` streams open, with a helper that writes to their users round robin."""
    async with (
        helper("load", ground.bootstrap, topic, FIRST_LIVE, LIVE) as load,
        audience(server.port, LIVE, first=FIRST_LIVE) as clients,
    ):
        yield clients, load


async def bare_pass(ground: Ground, topic: str) -> Pass:
    """Read the whole topic with aiokafka alone."""
    async with helper("bare_reader", ground.bootstrap, topic) as reader:
        return await reader.ask(None, Pass)
