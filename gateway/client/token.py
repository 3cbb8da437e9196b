"""The bearer token of a stream, asked for again when it is no longer good."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable

TokenSource = str | Callable[[], str | Awaitable[str]]
"""A token, or where one is to be had: a function or a coroutine function without arguments."""


class Tokens:
    """Keeps a token as long as it is good, and asks for another one when it is not."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self._token = ""
        self._renewed = False

    async def get(self) -> str:
        """Return the present token. What the source raises is raised."""
        if not self._token:
            token = self._source if isinstance(self._source, str) else self._source()
            self._token = await token if isawaitable(token) else token
        return self._token

    def accepted(self) -> None:
        """Note that a stream has opened with it."""
        self._renewed = False

    def expired(self) -> None:
        """Ask for another one at the next connection."""
        self._token = ""

    async def refused(self) -> bool:
        """Return whether another try is worth while after a 401.

        It is with another token, once: two different ones refused in a row are no accident.
        """
        refused, self._token = self._token, ""
        self._renewed = not self._renewed and await self.get() != refused
        if not self._renewed:
            self._token = ""
        return self._renewed
