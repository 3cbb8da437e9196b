"""A crowd that resumes broadcasts on a new worker, while other streams of the worker are live."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from dataclasses import dataclass
from urllib.request import urlopen

from tests.tools.bench.absence import PER_SECOND, live
from tests.tools.bench.audience import audience
from tests.tools.bench.cold import write_until
from tests.tools.bench.delivery import P99
from tests.tools.bench.figures import Quantity, Sample
from tests.tools.bench.ground import Ground
from tests.tools.bench.helper import helper
from tests.tools.bench.pacing import Order, Written
from tests.tools.bench.resume import SERVED
from tests.tools.bench.server import Server

LONGEST = Quantity("longest delay of a live event", "ms")
LOOP = Quantity("longest lag of the event loop, at most", "ms")

_BUCKET = re.compile(r'^gateway_loop_delay_seconds_bucket\{le="([^"]+)"\} (\S+)$', re.MULTILINE)


@dataclass(frozen=True)
class Crowd:
    """All clients missed the same broadcasts and resume at once."""

    clients: int
    missed: int

    @property
    def title(self) -> str:
        return f"{self.clients:,} clients resume {self.missed} broadcasts each, cold worker"

    async def measure(self, ground: Ground) -> Sample:
        """Leave one worker, write, resume on another, and write to its live users meanwhile."""
        topics = await ground.topics()
        async with AsyncExitStack() as stack:
            async with ground.worker(topics) as former:
                clients = await stack.enter_async_context(audience(former.port, self.clients))
                await clients.leave()
            async with helper("load", ground.bootstrap, topics.broadcast, 0, 0) as load:
                await load.ask(Order(PER_SECOND, self.missed / PER_SECOND), Written)
            server = await stack.enter_async_context(ground.worker(topics))
            others, load = await stack.enter_async_context(live(ground, server, topics.user))
            before = await _delays(server)
            back = asyncio.create_task(clients.come_back(server.port, self.missed))
            written = await write_until(back, load)
            after = await _delays(server)
            seconds = await back
            await clients.collect(self.clients * self.missed)
            tally = await others.collect(written)
        return {
            LONGEST: tally.latency_ms(1),
            P99: tally.latency_ms(0.99),
            LOOP: 1000 * max([at for at, n in after.items() if n > before[at]], default=0.0),
            SERVED: seconds,
        }


async def _delays(server: Server) -> dict[float, float]:
    """Return how often the event loop was late, by the upper bound of the delay in seconds."""
    url = f"http://127.0.0.1:{server.ops_port}/metrics"
    text = await asyncio.to_thread(lambda: urlopen(url).read().decode())
    counts: dict[float, float] = {}
    below = 0.0
    for at, total in _BUCKET.findall(text):
        counts[float(at)], below = float(total) - below, float(total)
    return counts
