"""An even rate of events, and the messages of writers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import msgspec

TICK_SECONDS = 0.005
"""Events due within one tick are written together: a wake-up for each of thousands a second would
cost more CPU than the measured worker."""


class Order(msgspec.Struct):
    """An order: events a second, and the duration."""

    rate: float
    seconds: float


class Written(msgspec.Struct):
    """The written events; `seconds` exceeds the order if the writer did not keep up."""

    events: int
    seconds: float

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds


async def due(order: Order) -> AsyncIterator[int]:
    """Yield the number of events due now, until all were written."""
    total = round(order.rate * order.seconds)
    begin = time.monotonic()
    done = 0
    while done < total:
        by_now = min(total, int((time.monotonic() - begin) * order.rate) + 1)
        yield by_now - done
        done = by_now
        await asyncio.sleep(max(TICK_SECONDS, begin + done / order.rate - time.monotonic()))
