"""The bearer token of a stream, renewed when it expires or is rejected."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable

TokenSource = str | Callable[[], str | Awaitable[str]]
"""A token, or a function or coroutine function without arguments that returns one."""


class Tokens:
    """Holds the current token and requests a new one when needed."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self._token = ""
        self._renewed = False

    async def get(self) -> str:
        """Return the current token. Errors of the source propagate."""
        if not self._token:
            token = self._source if isinstance(self._source, str) else self._source()
            self._token = await token if isawaitable(token) else token
        return self._token

    def accepted(self) -> None:
        """Record that a stream was opened with the token."""
        self._renewed = False

    def expired(self) -> None:
        """Request a new token for the next connection."""
        self._token = ""

    async def refused(self) -> bool:
        """Return whether a retry is useful after a 401.

        A retry is useful once, with a different token: two rejected tokens in a row are a permanent
        fault.
        """
        refused, self._token = self._token, ""
        self._renewed = not self._renewed and await self.get() != refused
        if not self._renewed:
            self._token = ""
        return self._renewed
