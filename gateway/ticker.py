"""The clock of a worker's periodic tasks, slower while nothing happens.

Waking an idle process costs more than most of its periodic tasks do. All of them wake in the same
turn of the event loop: five times a second, and once a second while the worker rests.
"""

from __future__ import annotations

import asyncio

TICK_SECONDS = 0.2
"""Time between two ticks: a stream ends within this time after its token has expired."""

REST_SECONDS = 1.0
"""Time between two ticks while the worker rests; a multiple of `TICK_SECONDS`."""

TICKS_PER_SECOND = round(1 / TICK_SECONDS)


class Ticker:
    """Ticks at multiples of `TICK_SECONDS` on the loop's clock, or of `REST_SECONDS` at rest."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._number = 0
        """Number of the last tick: all waiting tasks get it, also if the first one asks again."""
        self._resting = False

    async def next(self) -> int:
        """Wait for the next tick; return its number, its time divided by `TICK_SECONDS`."""
        if self._timer is None:
            self._arm()
        await self._event.wait()
        return self._number

    def rest(self, quiet: bool) -> None:
        """Tick once a second from now on if `quiet`, until `stir`; else five times."""
        if quiet is not self._resting:
            self._resting = quiet
            self._arm()

    def stir(self) -> None:
        """End the rest: the next tick comes within `TICK_SECONDS`."""
        if self._resting:
            self.rest(False)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        period = REST_SECONDS if self._resting else TICK_SECONDS
        due = (loop.time() // period + 1) * period
        self._timer = loop.call_at(due, self._tick, round(due / TICK_SECONDS))

    def _tick(self, number: int) -> None:
        self._timer = None
        self._number = number
        event, self._event = self._event, asyncio.Event()
        event.set()
