"""Events to everybody: what the worker spends on each delivery, beside the floor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench.audience import audience
from tests.bench.delivery import P50, P99
from tests.bench.figures import Quantity
from tests.bench.helper import Helper, helper
from tests.bench.pacing import Order, Written
from tests.bench.process import cpu_seconds

if TYPE_CHECKING:
    from tests.bench.audience import Audience
    from tests.bench.figures import Sample
    from tests.bench.ground import Ground
    from tests.bench.tally import Tally

CPU = Quantity("CPU for one delivery", "µs")
FLOOR = Quantity("the same, bare sockets", "µs")
RATIO = Quantity("ratio to bare sockets", "times")
SIZE = Quantity("size of one delivery", "bytes")


@dataclass(frozen=True)
class Broadcast:
    """`rate` events a second, each to all streams; then the same bytes from the bare server."""

    rate: float
    streams: int
    seconds: float = 10.0
    warm_up: float = 2.0

    @property
    def title(self) -> str:
        return f"{self.rate:,.0f} events/s, each to {self.streams:,} streams"

    async def measure(self, ground: Ground) -> Sample:
        """Measure the worker, then the floor, with the same clients and sizes."""
        async with (
            ground.worker() as (worker, topics),
            audience(worker.port, self.streams) as clients,
            helper("load", ground.bootstrap, topics.broadcast, 0) as load,
        ):
            tally, cpu = await self._write(load, clients, worker.pid)
        size = tally.size / tally.events
        async with (
            helper("floor", round(size)) as server,
            audience(await server.answer(int), self.streams) as clients,
        ):
            _, floor = await self._write(server, clients, server.pid)
        return {
            CPU: cpu,
            FLOOR: floor,
            RATIO: cpu / floor,
            SIZE: size,
            P50: tally.latency_ms(0.5),
            P99: tally.latency_ms(0.99),
        }

    async def _write(self, writer: Helper, clients: Audience, pid: int) -> tuple[Tally, float]:
        """Return what arrived, and the processor time of one delivery in µs."""
        warmed = await writer.ask(Order(self.rate, self.warm_up), Written)
        await clients.collect(warmed.events * self.streams)
        before = cpu_seconds(pid)
        written = await writer.ask(Order(self.rate, self.seconds), Written)
        tally = await clients.collect(written.events * self.streams)
        return tally, (cpu_seconds(pid) - before) / tally.events * 1e6
