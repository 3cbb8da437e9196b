"""A busy topic with few records for streams: the cost of an undelivered record."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from tests.tools.bench.absence import bare_pass, live
from tests.tools.bench.delivery import Pace
from tests.tools.bench.figures import AIOKAFKA, GATEWAY, Quantity, Sample, beside
from tests.tools.bench.ground import Ground
from tests.tools.bench.helper import helper
from tests.tools.bench.pacing import Order, Written
from tests.tools.bench.process import cpu_seconds

CPU = Quantity("CPU for one record", "µs")
LAG = Quantity("lag, at most", "s")
RATE = Quantity("records written", "1/s")

LIVE_PER_SECOND = 50.0
"""Events for streams; they are checked, and the latest gives the lag."""


@dataclass(frozen=True)
class Ingest:
    """Records of other users at a high rate, and a few for streams in all partitions."""

    pace: Pace

    @property
    def title(self) -> str:
        return f"{self.pace.rate:,.0f} records/s, {LIVE_PER_SECOND:.0f} of them for a stream"

    async def measure(self, ground: Ground) -> Sample:
        """Write while the worker reads; then read the same records with aiokafka only."""
        topics = await ground.topics()
        async with (
            ground.worker(topics) as server,
            live(ground, server, topics.user) as (clients, load),
            helper("ballast", ground.bootstrap, topics.user) as ballast,
        ):
            await ballast.ask(Order(self.pace.rate, self.pace.warm_up), Written)
            await clients.collect(0)
            before = cpu_seconds(server.pid)
            others, own = await asyncio.gather(
                ballast.ask(Order(self.pace.rate, self.pace.seconds), Written),
                load.ask(Order(LIVE_PER_SECOND, self.pace.seconds), Written),
            )
            tally = await clients.collect(own.events)
            spent = cpu_seconds(server.pid) - before
        floor = await bare_pass(ground, topics.user)
        cpu = {
            GATEWAY: spent / (others.events + own.events) * 1e6,
            AIOKAFKA: floor.cpu / floor.records * 1e6,
        }
        return beside(CPU, cpu) | {LAG: tally.latency_ms(1) / 1000, RATE: others.rate}
