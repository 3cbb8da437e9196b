"""Limits the streams that open in one turn of the event loop.

After an incident thousands of clients reconnect at the same time, and all their requests can become
ready in one turn of the loop. Opening them all would hold live events back until the last one.
"""

from __future__ import annotations

import asyncio
from collections import deque

OPENINGS_PER_TURN = 8
"""Opening and resuming a stream costs up to 0.6 ms (`docs/performance.md`): 5 ms for a turn."""


class OpeningQuota:
    """The openings left until the next renewal, which comes a turn after the last one was used.

    A turn contains parts of at most two periods, so at most `2 * most` openings. A client that
    comes alone costs no renewal, and so no further turn. Waiting requests are served in order and
    before new ones; requests that wait for the second time are served first.
    """

    def __init__(self, most: int = OPENINGS_PER_TURN) -> None:
        self._most = most
        self._left = most
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._waiting_again: deque[asyncio.Future[None]] = deque()
        self._renewal: asyncio.Handle | None = None

    def has_room(self, more: int = 0) -> bool:
        """Return whether a stream may open without waiting, after `more` others."""
        return self._left > more and not self._waiting and not self._waiting_again

    def use(self) -> None:
        """Count an opening that did not wait."""
        self._left -= 1
        if self._left <= 0:
            self._renew_soon()

    async def wait(self, *, again: bool = False) -> None:
        """Wait until the next stream may open, and count it.

        `again`: the request has waited before, and holds one of the limited places for openings.
        """
        if self.has_room():
            self.use()
            return
        granted = asyncio.get_running_loop().create_future()
        (self._waiting_again if again else self._waiting).append(granted)
        self._renew_soon()
        await granted

    def _renew_soon(self) -> None:
        if self._renewal is None:
            self._renewal = asyncio.get_running_loop().call_soon(self._renew)

    def _renew(self) -> None:
        self._renewal = None
        self._left = self._most
        while self._left and (waiting := self._waiting_again or self._waiting):
            granted = waiting.popleft()
            if not granted.done():  # the request was cancelled
                granted.set_result(None)
                self._left -= 1
        if not self._left:
            self._renew_soon()
