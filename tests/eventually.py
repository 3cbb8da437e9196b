"""Waiting for a condition, with a deadline, where nothing tells us when it comes true."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

POLL_SECONDS = 0.02


async def eventually(
    what: str, condition: Callable[[], Awaitable[bool]], timeout: float = 10.0
) -> None:
    """Return when the condition is true; `AssertionError` that names it where it stays false."""
    try:
        async with asyncio.timeout(timeout):
            while True:
                if await condition():
                    return
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise AssertionError(f"not within {timeout:.0f} s: {what}") from None
