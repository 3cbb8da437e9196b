"""The first success of several attempts, each of which may hang or fail."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any, TypeVar

from aiokafka.errors import KafkaConnectionError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

T = TypeVar("T")


async def first_of(
    attempts: Iterable[Callable[[], Awaitable[T]]],
    delay: float,
    discard: Callable[[T], object] = lambda _: None,
) -> T:
    """Return the result of the attempt that succeeds first; the others are cancelled.

    An attempt begins when the previous one has failed, or `delay` seconds after it began: a silent
    peer costs only this delay. `discard` receives late results. When all have failed, raises the
    most specific failure: a rejection before an unreachable peer.
    """
    waiting = list(attempts)[::-1]
    running: set[asyncio.Task[T]] = set()
    failures: list[Exception] = []
    try:
        while waiting or running:
            if waiting:
                running.add(asyncio.ensure_future(_awaited(waiting.pop())))
            done, running = await asyncio.wait(
                running,
                timeout=delay if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                if task.cancelled():  # by a future that the attempt awaited
                    failures.append(KafkaConnectionError("the attempt was cancelled"))
                    continue
                error = task.exception()
                if error is None:
                    running |= done - {task}
                    return task.result()
                if not isinstance(error, Exception):
                    raise error
                failures.append(error)
    finally:
        for task in running:
            task.cancel()
        for late in await asyncio.gather(*running, return_exceptions=True):
            if not isinstance(late, BaseException):
                discard(late)
    if not failures:
        raise KafkaConnectionError("no address to connect to")
    raise min(failures, key=_is_away)


def _is_away(error: BaseException) -> bool:
    """Whether the peer of a failure did not answer."""
    cause: Any = error
    while isinstance(cause, KafkaConnectionError) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, ssl.SSLError | ConnectionResetError | EOFError):
        return False
    return isinstance(cause, OSError | KafkaConnectionError)


async def _awaited(attempt: Callable[[], Awaitable[T]]) -> T:
    return await attempt()
