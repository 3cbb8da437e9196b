"""All clients of a round, controlled by the bench."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from tests.tools.bench.helper import Helper, helper
from tests.tools.bench.questions import Count, Leave, Return, Served
from tests.tools.bench.server import Dialect
from tests.tools.bench.tally import Tally

STREAMS_PER_PROCESS = 2500
"""Limit per client process: with more it becomes the bottleneck of the bench."""

POLL_SECONDS = 0.05

PATIENCE_SECONDS = 60.0
"""How long to wait for written events before they count as lost."""

SETTLE_SECONDS = 0.3
"""How long to wait for unwanted (repeated) events."""


class Audience:
    """Open streams, or disconnected clients that can resume."""

    def __init__(self, helpers: Sequence[Helper]) -> None:
        self._helpers = helpers

    async def collect(self, events: int) -> Tally:
        """Return the tally of `events` events since the last call; `Void` for another number."""
        total = Tally()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while total.events < events and time.monotonic() < deadline:
            await asyncio.sleep(POLL_SECONDS)
            await self._add_to(total)
        await asyncio.sleep(SETTLE_SECONDS)
        await self._add_to(total)
        total.verify(events)
        return total

    async def leave(self) -> None:
        """Drop all streams."""
        await asyncio.gather(*(each.ask(Leave(), int) for each in self._helpers))

    async def come_back(self, port: int, missed: int, spread: float = 0.0) -> float:
        """Resume all clients; return the seconds until each has its missed events.

        They return at once, or evenly over `spread` seconds. The tally is collected separately.
        """
        question = Return(port, missed, PATIENCE_SECONDS, spread)
        served = await asyncio.gather(*(each.ask(question, Served) for each in self._helpers))
        return max(each.seconds for each in served)

    async def _add_to(self, total: Tally) -> None:
        for tally in await asyncio.gather(*(each.ask(Count(), Tally) for each in self._helpers)):
            total.add(tally)


@asynccontextmanager
async def audience(
    port: int, streams: int, *, first: int = 0, dialect: Dialect = Dialect.GATEWAY
) -> AsyncIterator[Audience]:
    """Keep streams open for the users from `first` on while the block runs."""
    async with AsyncExitStack() as stack:
        helpers = []
        for begin in range(first, first + streams, STREAMS_PER_PROCESS):
            count = min(STREAMS_PER_PROCESS, first + streams - begin)
            arguments = (port, begin, count, dialect.title)
            helpers.append(await stack.enter_async_context(helper("clients", *arguments)))
        await asyncio.gather(*(each.answer(int) for each in helpers))
        yield Audience(helpers)
