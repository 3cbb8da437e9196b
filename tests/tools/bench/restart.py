"""A worker is restarted, and all of its clients return."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

from tests.tools.bench.absence import Absence
from tests.tools.bench.audience import audience
from tests.tools.bench.figures import Quantity, Sample
from tests.tools.bench.ground import Ground
from tests.tools.bench.process import cpu_seconds
from tests.tools.bench.resume import SERVED

CPU = Quantity("CPU until all are back", "s")
CPU_EACH = Quantity("CPU for one client", "µs")


@dataclass(frozen=True)
class Restart:
    """All streams of a worker come back to the one that replaces it."""

    absence: Absence
    spread: float
    """Seconds over which they return, as `retry:` and the clients' own jitter spread them."""

    @property
    def title(self) -> str:
        return f"a worker is restarted: {self.absence} over {self.spread:g} s"

    async def measure(self, ground: Ground) -> Sample:
        """Leave one worker, write, and resume on another, from its readiness on."""
        away = self.absence
        topics = await ground.topics(away.partitions)
        async with AsyncExitStack() as stack:
            async with ground.worker(topics) as former:
                clients = await stack.enter_async_context(audience(former.port, away.clients))
                await clients.leave()
            await away.write(ground, topics.user)
            server = await stack.enter_async_context(ground.worker(topics))
            before = cpu_seconds(server.pid)
            seconds = await clients.come_back(server.port, away.missed, self.spread)
            spent = cpu_seconds(server.pid) - before
            await clients.collect(away.events)
        return {CPU: spent, CPU_EACH: spent / away.clients * 1e6, SERVED: seconds}
