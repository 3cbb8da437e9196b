"""Cost over time: CPU of an event, memory of the worker, and memory freed by closing.

The budget of the tails is smaller than the default: they are full before the first part ends, and
from then on memory must not grow.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import NamedTuple

from tests.tools.bench.absence import FIRST_LIVE
from tests.tools.bench.audience import audience
from tests.tools.bench.delivery import Pace
from tests.tools.bench.figures import Quantity, Sample
from tests.tools.bench.flat import FIRST
from tests.tools.bench.ground import Ground
from tests.tools.bench.helper import helper
from tests.tools.bench.process import resident_kb
from tests.tools.bench.server import Server
from tests.worker import metric

TAIL_BYTES = 8 << 20

FIRST_CPU = Quantity("CPU for one event, first part", "µs")
LAST_CPU = Quantity("CPU for one event, last part", "µs")
CPU_GROWTH = Quantity("CPU, last part to first", "times")
FIRST_MEMORY = Quantity("memory of the worker, first part", "MB")
LAST_MEMORY = Quantity("memory of the worker, last part", "MB")
MEMORY_GROWTH = Quantity("memory, last part to first", "times")
TAIL = Quantity("counted tails and indexes (maximum), to their budget", "times")
EVENTS_MEMORY = Quantity("memory of events, to the budget", "times")
LEFT = Quantity("memory of the worker, after all streams closed", "MB")
AGAIN = Quantity("memory after reopening as many streams, to before", "times")


class Part(NamedTuple):
    """µs for an event, MB of the worker at the end of the part, bytes that tails count."""

    cpu: float
    memory: float
    tail: float


@dataclass(frozen=True)
class Endurance:
    """The same load for a long time, measured in `parts` of `pace.seconds` each."""

    pace: Pace
    streams: int
    parts: int
    tail_bytes: int = TAIL_BYTES
    settle: float = 3.0
    """Seconds between the close of the streams and the measurement of memory."""

    @property
    def title(self) -> str:
        minutes = self.pace.seconds * self.parts / 60
        return f"{self.pace.rate:,.0f} events/s to {self.streams:,} users for {minutes:.0f} minutes"

    async def measure(self, ground: Ground) -> Sample:
        """Measure each part; then close all streams and open as many again."""
        topics = await ground.topics()
        async with (
            ground.worker(topics, GATEWAY_TAIL_BYTES=str(self.tail_bytes)) as server,
            helper("load", ground.bootstrap, topics.user, 0, self.streams) as writer,
            audience(server.port, FIRST, first=FIRST_LIVE),
        ):
            async with audience(server.port, self.streams) as clients:
                opened = _megabytes(server)
                parts = []
                for _ in range(self.parts):
                    delivered = await self.pace.deliver(writer, clients, server.pid)
                    tail = await _tail_bytes(server)
                    parts.append(Part(delivered.cpu, _megabytes(server), tail))
            await asyncio.sleep(self.settle)
            left = _megabytes(server)
            async with audience(server.port, self.streams, first=self.streams):
                again = _megabytes(server)
        first, last = parts[0], parts[-1]
        return {
            FIRST_CPU: first.cpu,
            LAST_CPU: last.cpu,
            CPU_GROWTH: last.cpu / first.cpu,
            FIRST_MEMORY: first.memory,
            LAST_MEMORY: last.memory,
            MEMORY_GROWTH: last.memory / first.memory,
            TAIL: max(part.tail for part in parts) / self.tail_bytes,
            EVENTS_MEMORY: (last.memory - opened) * 1e6 / self.tail_bytes,
            LEFT: left,
            AGAIN: again / last.memory,
        }


def _megabytes(server: Server) -> float:
    return resident_kb(server.pid) * 1024 / 1e6


async def _tail_bytes(server: Server) -> float:
    return await metric(f"http://127.0.0.1:{server.ops_port}", "gateway_tail_bytes")
