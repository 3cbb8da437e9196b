"""Taking from an iteration over a stream what a test waits for."""

from __future__ import annotations

import asyncio

from gateway.client import Event, EventStream, Item, Opened
from tests.eventually import DEADLINE


async def opened(stream: EventStream) -> None:
    """Return when the stream is open and has an id, so that nothing can be missed any more."""
    async with asyncio.timeout(DEADLINE):
        assert isinstance(await anext(stream), Opened)
    while not stream.last_event_id:
        try:
            async with asyncio.timeout(0.05):
                raise AssertionError(f"nothing was written yet: {await anext(stream)}")
        except TimeoutError:
            pass  # a wait that is cancelled loses nothing, but has taken the first bytes


async def until(stream: EventStream, number: int) -> list[Item]:
    """Return the events received, up to the event with this number."""
    found: list[Item] = []
    async with asyncio.timeout(DEADLINE):
        async for item in stream:
            found.append(item)
            if isinstance(item, Event) and item.json() == {"n": number}:
                break
    return found
