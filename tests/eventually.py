"""Waiting for a condition, with a deadline, where nothing reports the moment it becomes true.

The deadline bounds a failure and never decides a result: a test passes as soon as its condition
holds. `PATIENCE=3` in the environment triples the deadline, for machines slower than any so far.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TypeVar, overload

T = TypeVar("T")

DEADLINE = 60.0 * float(os.environ.get("PATIENCE", "1"))
"""Seconds until a wait fails."""

POLL_SECONDS = 0.02


@overload
async def eventually(
    what: str, condition: Callable[[], Awaitable[T]], timeout: float = ...
) -> T: ...
@overload
async def eventually(what: str, condition: Callable[[], T], timeout: float = ...) -> T: ...
async def eventually(
    what: str, condition: Callable[[], object], timeout: float = DEADLINE
) -> object:
    """Return the first true result of the condition, a function or a coroutine function.

    Raises `AssertionError`, which names the condition and shows its last result, on timeout.
    """
    last: object = "none"
    try:
        async with asyncio.timeout(timeout):
            while True:
                result = condition()
                last = await result if isawaitable(result) else result
                if last:
                    return last
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise AssertionError(f"not within {timeout:.0f} s: {what}; last result {last!r}") from None
