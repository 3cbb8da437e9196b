"""Runs the queued work of the hub."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway import clock
from gateway.supervise import Part, Supervisor

if TYPE_CHECKING:
    from gateway.core.hub import Hub


class Pump:
    """Runs the hub's work step by step, and yields to the event loop between steps."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._contain = supervisor.contain
        self._more = asyncio.Event()

    def wake(self) -> None:
        """Run the hub's work: the hub calls this when it has some."""
        self._more.set()

    async def run(self, hub: Hub) -> None:
        """Run for as long as the task lives."""
        while True:
            await self._more.wait()
            self._more.clear()
            more = True
            while more:
                more = False  # after an exception the next tick resumes the remaining work
                with self._contain(Part.STREAM):
                    more = hub.step(clock.now())
                await asyncio.sleep(0)
