"""The connection to one broker for short requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaConnectionError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gateway.kafka.client.connection import Connection


class SharedConnection:
    """The connection to one broker for short requests, opened on first use."""

    def __init__(self, open_one: Callable[[], Coroutine[Any, Any, Connection]]) -> None:
        self._open_one = open_one
        self._opening: asyncio.Task[Connection] | None = None

    async def connection(self) -> Connection:
        """Return the connection; concurrent callers share one attempt and its failure."""
        opening = self._opening
        if opening is None or (opening.done() and not _is_open(opening)):
            opening = self._opening = asyncio.get_running_loop().create_task(self._open_one())
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if opening.cancelled() and not (task and task.cancelling()):
                raise KafkaConnectionError("the broker has moved to another address") from None
            raise

    async def close(self) -> None:
        """Close the connection, or cancel its opening."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
            if _is_open(self._opening):
                self._opening.result().close()


def _is_open(opening: asyncio.Task[Connection]) -> bool:
    if opening.cancelled() or opening.exception() is not None:
        return False
    return not opening.result().closed
