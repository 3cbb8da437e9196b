"""Clients in a separate process, and the protocol to query them.

The helper opens its streams evenly over a few seconds and then answers each line with the totals
since its start.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from tests.tools.bench.helper import Helper, helper, questions, say
from tests.tools.bench.load import user_name
from tests.tools.fleet.visitor import Sightings, Visitor

VISITORS_PER_PROCESS = 2500
OPENED_A_SECOND = 400


class Crowd:
    """All clients, on the side of the drill."""

    def __init__(self, helpers: Sequence[Helper]) -> None:
        self._helpers = helpers

    async def sightings(self) -> Sightings:
        """Return the totals so far."""
        total = Sightings()
        for seen in await asyncio.gather(*(each.ask(None, Sightings) for each in self._helpers)):
            total.add(seen)
        return total


@asynccontextmanager
async def crowd(port: int, visitors: int) -> AsyncIterator[Crowd]:
    """Connect clients to a port while the block runs."""
    async with AsyncExitStack() as stack:
        helpers = []
        for first in range(0, visitors, VISITORS_PER_PROCESS):
            arguments = (port, first, min(VISITORS_PER_PROCESS, visitors - first))
            helpers.append(
                await stack.enter_async_context(
                    helper("crowd", *arguments, package="tests.tools.fleet")
                )
            )
        yield Crowd(helpers)


async def main(port: int, first: int, count: int) -> None:
    """Connect, stay connected, and answer queries."""
    seen = Sightings()
    visitors = [Visitor(user_name(number), port, seen) for number in range(first, first + count)]

    async def come() -> None:
        for visitor in visitors:
            await visitor.connect()
            await asyncio.sleep(1 / OPENED_A_SECOND)

    coming = asyncio.create_task(come())
    async for _ in questions():
        say(seen)
    await coming


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:4])))
