"""Ends the streams of a worker that stops, and tells their clients when to reconnect."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from gateway import clock
from gateway.core.gap import CloseReason
from gateway.core.reconnect import drain_delay

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.core.hub import Hub
    from gateway.core.stream import Stream
    from gateway.fleet.members import Fleet

OTHERS_SECONDS = 5.0
"""How long a drain waits for another worker that is ready, half of the drain time at most."""

POLL_SECONDS = 0.2

GOODBYES_PER_TURN = 50
"""Ending a stream costs up to 0.1 ms: at most 5 ms in a turn of the event loop."""


def say_goodbye(hub: Hub, stream: Stream, retry_ms: int) -> None:
    """End a stream because its worker stops, and send its client the reconnect delay."""
    hub.close(stream, CloseReason.DRAINING, clock.now(), retry_ms)


def long_delay(settings: Settings) -> int:
    """Return a random reconnect delay (ms) where no other worker may be ready."""
    return int(settings.retry_ms * random.uniform(1, 2))  # noqa: S311


async def say_goodbye_to_all(hub: Hub, settings: Settings) -> None:
    """End all streams at once, `GOODBYES_PER_TURN` in each turn of the event loop."""
    for number, stream in enumerate(list(hub.streams), 1):
        say_goodbye(hub, stream, long_delay(settings))
        if number % GOODBYES_PER_TURN == 0:
            await asyncio.sleep(0)


async def drain_streams(hub: Hub, fleet: Fleet, streams: list[Stream], settings: Settings) -> None:
    """End `streams` evenly over the drain time.

    With another worker that is ready, the reconnect delay is short.
    """
    seconds = settings.drain_seconds
    seconds -= await _others_ready(fleet, min(OTHERS_SECONDS, seconds / 2)) if streams else 0.0
    for number, stream in enumerate(streams):
        if stream.closed:
            continue
        if number:
            await asyncio.sleep(seconds / len(streams))
        say_goodbye(hub, stream, _delay(fleet, settings, len(streams)))


async def _others_ready(fleet: Fleet, patience: float) -> float:
    """Wait until another worker is known to be ready; return the seconds that this took.

    A rolling deploy stops a worker as soon as the one before it is ready again, which the fleet's
    topic tells the others a moment later.
    """
    begun = clock.now().monotonic
    waited = 0.0
    while waited < patience and not fleet.others_ready(begun + waited):
        await asyncio.sleep(POLL_SECONDS)
        waited = clock.now().monotonic - begun
    return waited


def _delay(fleet: Fleet, settings: Settings, streams: int) -> int:
    """Return the reconnect delay (ms) for a client of a drain that ends `streams`."""
    if not fleet.others_ready(clock.now().monotonic):
        return long_delay(settings)
    draw = random.random()  # noqa: S311
    return drain_delay(settings.retry_ms, streams, settings.drain_seconds, draw)
