"""Events of users: what the worker spends on one, from Kafka to the socket, and how late it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench.audience import audience
from tests.bench.figures import Quantity
from tests.bench.helper import helper
from tests.bench.pacing import Order, Written
from tests.bench.process import cpu_seconds

if TYPE_CHECKING:
    from tests.bench.figures import Sample
    from tests.bench.ground import Ground

CPU = Quantity("CPU for one event", "µs")
P50 = Quantity("latency, p50", "ms")
P99 = Quantity("latency, p99", "ms")
RATE = Quantity("events written", "1/s")


@dataclass(frozen=True)
class Delivery:
    """`rate` events a second, to one of the users after the other; each has one stream."""

    rate: float
    streams: int
    seconds: float = 10.0
    warm_up: float = 2.0
    """Seconds of the same load before anything counts: Java compiles what it runs often."""

    @property
    def title(self) -> str:
        return f"{self.rate:,.0f} events/s to {self.streams:,} users"

    async def measure(self, ground: Ground) -> Sample:
        """Write, and wait until the clients have checked everything."""
        async with (
            ground.worker() as (worker, topics),
            audience(worker.port, self.streams) as clients,
            helper("load", ground.bootstrap, topics.user, self.streams) as load,
        ):
            warmed = await load.ask(Order(self.rate, self.warm_up), Written)
            await clients.collect(warmed.events)
            before = cpu_seconds(worker.pid)
            written = await load.ask(Order(self.rate, self.seconds), Written)
            tally = await clients.collect(written.events)
            spent = cpu_seconds(worker.pid) - before
        return {
            CPU: spent / tally.events * 1e6,
            P50: tally.latency_ms(0.5),
            P99: tally.latency_ms(0.99),
            RATE: written.rate,
        }
