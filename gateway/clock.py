"""The time, read by the edges and passed to the core."""

from __future__ import annotations

import asyncio
import time

from gateway.core.records import Moment


def now() -> Moment:
    """Return this moment, on both clocks that matter."""
    return Moment(time.monotonic(), time.time_ns() // 1_000_000)


async def sleep_to_tick(seconds: float) -> float:
    """Sleep to the next multiple of `seconds`; return that time on the loop's clock.

    Tasks with the same period wake in the same turn of the event loop. Waking an idle process
    costs more than the work of most of them.
    """
    loop = asyncio.get_running_loop()
    now = loop.time()
    due = (now // seconds + 1) * seconds
    await asyncio.sleep(due - now)
    return due
