"""Back-off: the growing delay between attempts that fail."""

from __future__ import annotations

import asyncio
import random

LEAST_BACKOFF_SECONDS, MOST_BACKOFF_SECONDS = 0.05, 1.0

_DOUBLINGS = 10
"""Enough to reach the longest delay."""


def backoff_seconds(failures: int) -> float:
    """Return the delay after a failure that was preceded by `failures` others."""
    return min(MOST_BACKOFF_SECONDS, LEAST_BACKOFF_SECONDS * (1 << min(failures, _DOUBLINGS)))


class Backoff:
    """Delay between attempts to connect to one broker."""

    def __init__(self) -> None:
        self._failures = 0
        self._until = float("-inf")

    async def wait(self) -> None:
        """Wait until the next attempt is due."""
        await asyncio.sleep(self._until - asyncio.get_running_loop().time())

    def failed(self) -> None:
        """Double the delay, with some jitter."""
        pause = backoff_seconds(self._failures) * random.uniform(0.8, 1.0)  # noqa: S311 - no secret
        self._failures += 1
        self._until = asyncio.get_running_loop().time() + pause

    def clear(self) -> None:
        """Reset the delay."""
        self._failures, self._until = 0, float("-inf")
