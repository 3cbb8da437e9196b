"""An even rate of events, and what is asked of those who write at one."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TICK_SECONDS = 0.005
"""Events that are due within one tick are written together: waking up for each of thousands a
second would cost the machine more than the worker that is measured on it."""


class Order(msgspec.Struct):
    """What to write: events a second, and for how long."""

    rate: float
    seconds: float


class Written(msgspec.Struct):
    """What has been written; it took longer than was ordered where the writer did not keep up."""

    events: int
    seconds: float

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds


async def due(order: Order) -> AsyncIterator[int]:
    """Yield, again and again, how many events are to be written now, until all have been."""
    total = round(order.rate * order.seconds)
    begin = time.monotonic()
    done = 0
    while done < total:
        by_now = min(total, int((time.monotonic() - begin) * order.rate) + 1)
        yield by_now - done
        done = by_now
        await asyncio.sleep(max(TICK_SECONDS, begin + done / order.rate - time.monotonic()))
