"""Cost of one event and one stream, with few and with many streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from tests.tools.bench.absence import FIRST_LIVE
from tests.tools.bench.audience import audience
from tests.tools.bench.delivery import Pace, gateway
from tests.tools.bench.figures import Quantity, Sample
from tests.tools.bench.ground import Ground
from tests.tools.bench.process import grown_kb, resident_kb

CPU_GROWTH = Quantity("CPU, growth", "times")
MEMORY_GROWTH = Quantity("memory, growth", "times")

FIRST = 100
"""Streams opened before the first measurement of memory: they cover one-time allocations."""


ENOUGH = 3000
"""Streams from which memory is compared: Python takes memory in pieces of 1 MiB for each process,
the memory of 400 streams, and the first streams use what the start has left."""


class Cost(NamedTuple):
    """µs for an event, KB for a stream."""

    cpu: float
    memory: float


@dataclass(frozen=True)
class Flat:
    """The same load on workers with different numbers of streams, the fewest first."""

    pace: Pace
    sizes: tuple[int, ...]
    workers: int = 1
    """Worker processes; a stream is handed to the process that reads its user's partition."""

    @property
    def title(self) -> str:
        sizes = ", ".join(f"{size:,}" for size in self.sizes)
        workers = f", {self.workers} workers" if self.workers > 1 else ""
        return f"{self.pace.rate:,.0f} events/s to {sizes} users{workers}"

    async def measure(self, ground: Ground) -> Sample:
        """Measure each size with a separate worker."""
        costs = {size: await self._cost(ground, size) for size in self.sizes}
        fewest, most = costs[self.sizes[0]], costs[self.sizes[-1]]
        enough = next((cost for size, cost in costs.items() if size >= ENOUGH), fewest)
        return {
            **{cpu(size): cost.cpu for size, cost in costs.items()},
            CPU_GROWTH: most.cpu / fewest.cpu,
            **{memory(size): cost.memory for size, cost in costs.items()},
            MEMORY_GROWTH: most.memory / enough.memory,
        }

    @property
    def _settings(self) -> dict[str, str]:
        if self.workers == 1:
            return {}
        return {"GATEWAY_WORKERS": str(self.workers), "GATEWAY_SHARDING": "handover"}

    async def _cost(self, ground: Ground, streams: int) -> Cost:
        async with (
            gateway(ground, streams, **self._settings) as (server, writer),
            audience(server.port, FIRST, first=FIRST_LIVE),
        ):
            before = resident_kb(server.pid)
            async with audience(server.port, streams) as clients:
                used = grown_kb(server.pid, before)
                delivered = await self.pace.deliver(writer, clients, server.pid)
        return Cost(delivered.cpu, used / streams)


def cpu(streams: int) -> Quantity:
    """Return the cost of an event for a number of streams."""
    return Quantity(f"CPU, {streams:,} streams", "µs")


def memory(streams: int) -> Quantity:
    """Return the memory of one of a number of streams."""
    return Quantity(f"memory, {streams:,} streams", "KB")
