"""The token with which all connections log in, renewed in a thread before it expires.

Connections use the old token meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError

if TYPE_CHECKING:
    from collections.abc import Callable

RENEW_AT = 0.8
"""Fraction of a token's lifetime after which it is renewed; Kafka's Java client uses 0.8."""

RETRY_SECONDS = 5.0
"""Minimum interval of attempts to get a token."""

MAX_LIFE = 86_400.0
"""A token is renewed once a day at least, also if its issuer claims that it lives forever."""


class TokenUnavailable(KafkaError):  # type: ignore[misc]
    """No token or ticket to log in with: `found` is the cause, `advice` the setting to change."""

    def __init__(self, found: str, advice: str) -> None:
        super().__init__(f"{found}; {advice}")
        self.found = found
        self.advice = advice


class Token(NamedTuple):
    """A token and its remaining lifetime in seconds."""

    value: str
    life: float


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]
    """Gives every connection the current token. `fetch` blocks, and runs in a thread."""

    def __init__(
        self,
        fetch: Callable[[], Token],
        extensions: dict[str, str] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._extensions = extensions or {}
        self._monotonic = monotonic
        self._value = ""
        self._renew_at = self._expires_at = float("-inf")
        self._fetching: asyncio.Future[Token] | None = None
        self._failure: TokenUnavailable | None = None
        """The last attempt's, if that failed."""
        self._retry_at = float("-inf")

    def extensions(self) -> dict[str, str]:
        """Return the SASL extensions (KIP-342)."""
        return self._extensions

    async def token(self) -> str:
        """Return a token that has not expired; waits only if the cached one has expired.

        Raises `TokenUnavailable`; for `RETRY_SECONDS` after a failure without a new attempt.
        """
        now = self._monotonic()
        if now < self._renew_at:
            return self._value
        if self._fetching is None and now >= self._retry_at:
            self._begin()
        if now < self._expires_at:
            return self._value
        if self._fetching is not None:
            await asyncio.wait([self._fetching])
        if self._failure is not None:
            raise self._failure
        return self._value  # also one that lives for less than a moment: the broker judges it

    def _begin(self) -> None:
        self._fetching = asyncio.get_running_loop().run_in_executor(None, self._fetch)
        self._fetching.add_done_callback(self._done)

    def _done(self, fetching: asyncio.Future[Token]) -> None:
        self._fetching = None
        if fetching.cancelled():
            return
        now = self._monotonic()
        error = fetching.exception()
        if error is None:
            token = fetching.result()
            self._value = token.value
            self._failure = None
            life = min(token.life, MAX_LIFE)
            self._renew_at, self._expires_at = now + RENEW_AT * life, now + life
            return
        self._retry_at = now + RETRY_SECONDS
        self._failure = (
            error
            if isinstance(error, TokenUnavailable)
            else TokenUnavailable(f"no token: {type(error).__name__}", "report this defect")
        )
