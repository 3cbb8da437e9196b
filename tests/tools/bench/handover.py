"""Cost of opening a stream with one worker process, with two, and with connections handed over.

All three servers run at the same time and take turns, so that other load affects all of them.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median
from types import MappingProxyType

from tests.tools.bench.figures import Quantity, Sample
from tests.tools.bench.ground import Ground
from tests.tools.bench.helper import Helper, helper
from tests.tools.bench.opening import SETTLE_SECONDS, tokens_of
from tests.tools.bench.openings import CONNECT, LEAVE, OPEN
from tests.tools.bench.process import cpu_seconds
from tests.tools.bench.server import Server

ONE = Quantity("CPU to open one stream", "µs", "one worker")
TWO = ONE.of("two workers")
HANDED = ONE.of("two workers, handover")
RATIO = Quantity(ONE.name, "times", f"{HANDED.whose} / {ONE.whose}")
SHARE = RATIO.of(f"{HANDED.whose} / without")

SETTINGS = MappingProxyType(
    {
        ONE: {},
        TWO: {"GATEWAY_WORKERS": "2"},
        HANDED: {"GATEWAY_WORKERS": "2", "GATEWAY_SHARDING": "handover"},
    }
)

WARM_UP = 4
"""Rounds that do not count: without handover each token has to reach both workers once."""


@dataclass(frozen=True)
class Handover:
    """A number of streams, opened `rounds` times with known tokens; the median cost counts."""

    streams: int
    rounds: int = 9
    warm_up: int = WARM_UP

    @property
    def title(self) -> str:
        return f"{self.streams:,} streams open on one worker and on two"

    async def measure(self, ground: Ground) -> Sample:
        """Open the same streams on all servers, one server after the other, in each round."""
        tokens, settings = tokens_of(self.streams, ground.folder)
        async with AsyncExitStack() as stack:
            found: dict[Quantity, tuple[Server, Helper]] = {}
            for quantity, more in SETTINGS.items():
                server = await stack.enter_async_context(
                    ground.worker(await ground.topics(), **settings, **more)
                )
                clients = await stack.enter_async_context(
                    helper("openings", server.port, tokens, "plain")
                )
                found[quantity] = server, clients
            rounds = [
                {quantity: await self._open(*each) for quantity, each in found.items()}
                for _ in range(self.warm_up + self.rounds)
            ][self.warm_up :]
        sample = {quantity: median(each[quantity] for each in rounds) for quantity in SETTINGS}
        handed = sample[HANDED]
        return {**sample, RATIO: handed / sample[ONE], SHARE: handed / sample[TWO]}

    async def _open(self, server: Server, clients: Helper) -> float:
        """Return the cost of an opening in µs, without what idle processes cost meanwhile."""
        await clients.ask(CONNECT, int)
        idle, seconds = await _spent(server, None)
        cpu, spent = await _spent(server, clients)
        await clients.ask(LEAVE, int)
        await asyncio.sleep(SETTLE_SECONDS)
        return (cpu - idle * spent / seconds) / self.streams * 1e6


async def _spent(server: Server, clients: Helper | None) -> tuple[float, float]:
    """Return CPU and time in seconds, while the clients open their streams if they are given."""
    begin, before = time.monotonic(), cpu_seconds(server.pid)
    if clients is not None:
        await clients.ask(OPEN, int)
    await asyncio.sleep(SETTLE_SECONDS)
    return cpu_seconds(server.pid) - before, time.monotonic() - begin
