"""Streams without events: what it costs to open one, and what to keep it, beside the floor.

The floor is a bare asyncio connection. It also guards the figure: a stream that seems to need less
memory than its connection alone has been measured wrongly.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench.audience import audience
from tests.bench.figures import Quantity
from tests.bench.helper import helper
from tests.bench.process import cpu_seconds, resident_kb

if TYPE_CHECKING:
    from tests.bench.figures import Sample
    from tests.bench.ground import Ground

MEMORY = Quantity("memory of one stream", "KB")
BARE = Quantity("the same, bare sockets", "KB")
OPENING = Quantity("CPU to open one stream", "µs")
IDLE = Quantity("CPU of all while idle", "% of a core")


@dataclass(frozen=True)
class Idle:
    """That many streams, opened and then left alone."""

    streams: int
    seconds: float = 10.0
    settle: float = 2.0
    """Seconds between the last opening and the watch, for what opening leaves to be done."""

    @property
    def title(self) -> str:
        return f"{self.streams:,} idle streams"

    async def measure(self, ground: Ground) -> Sample:
        """Open the streams and watch the worker for a while."""
        async with ground.worker() as (worker, _):
            memory, closed = resident_kb(worker.pid), cpu_seconds(worker.pid)
            async with audience(worker.port, self.streams) as clients:
                opened = cpu_seconds(worker.pid)
                await asyncio.sleep(self.settle)
                before = cpu_seconds(worker.pid)
                await asyncio.sleep(self.seconds)
                spent = cpu_seconds(worker.pid) - before
                memory = resident_kb(worker.pid) - memory
                await clients.collect(0)
        return {
            MEMORY: memory / self.streams,
            BARE: await self._bare() / self.streams,
            OPENING: (opened - closed) / self.streams * 1e6,
            IDLE: spent / self.seconds * 100,
        }

    async def _bare(self) -> float:
        """Return the memory in KB that the bare server needs for as many connections."""
        async with helper("floor", 0) as server:
            port = await server.answer(int)
            before = resident_kb(server.pid)
            async with audience(port, self.streams):
                return resident_kb(server.pid) - before
