"""The keys that an identity provider publishes at a URL: fetched, kept, and fetched again.

One task fetches, so there is never more than one request at a time. It does so at the start, then
regularly, so that keys that were taken back are not accepted for long, and soon after a token has
named a key that is not known. Names cost nothing to make up, so that happens at most once in a set
time, for all requests together.

While the URL is down, the last good set stays in use. Without a first set a
worker is not ready.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec
import structlog

from gateway.core.admission import Refusal
from gateway.errors import KeySetError, NotReady, Overloaded
from gateway.http.auth.jwks import KeySet, read_key_set
from gateway.issuers import Issuer, is_safe_url
from gateway.outgoing import AnswerTooLarge, Exchange, InvalidAnswer, NoAnswer, answer
from gateway.readiness import NotReadyReason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from gateway.http.auth.keys import Key

SETTING = "GATEWAY_JWT_JWKS_URL"

FETCH_SECONDS = 5.0
"""How long a fetch may take."""

MAX_BYTES = 262_144
"""Of an answer; the sets of large providers have up to 30,000."""

MAX_WAITING = 100
"""Requests that may wait for an unknown key at the same time. Key names cost nothing to make up, so
these requests have a limit of their own and never take the places of others."""

MAX_LOGGED = 20
"""Names of keys in a log line; a provider has some five keys."""

_START = "start the provider, or set its URL"
_URL = "set the URL that the provider states"

_log = structlog.stdlib.get_logger(__name__)


class Pace(NamedTuple):
    """How often keys are fetched, and how long a request waits for them; all in seconds."""

    refresh: float = 300.0
    """Between two regular fetches: how long a key that was taken back may verify tokens."""

    retry: float = 3.0
    """From a fetch that failed to the next one."""

    unknown: float = 30.0
    """The least between two fetches because of unknown keys: all that attackers can make a worker
    ask of a provider. Keys that are published before they sign never wait for it."""

    patience: float = 2.0
    """How long a request waits for its unknown key: a fetch takes a fraction of it."""


PACE = Pace()


class ReadinessReasons(Protocol):
    """The part of a worker's readiness that keys change."""

    def set_reason(self, reason: NotReadyReason, detail: str) -> bool:
        """Set a reason; return whether the reason or its detail is new."""

    def clear(self, *reasons: NotReadyReason) -> bool:
        """Clear reasons; return whether the worker became ready."""


class JwksClient:
    """The keys behind a URL, as they were when `fetch` last succeeded.

    `fetch` raises `KeySetError` where that is not possible.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[KeySet]],
        readiness: ReadinessReasons,
        pace: Pace = PACE,
        setting: str = SETTING,
        url: str = "",
    ) -> None:
        self.url = url
        """Where the keys, or the document that names their URL, are; shown by commands."""
        self._fetch = fetch
        self.setting = setting
        """What an error names: the setting, and the issuer where there are several."""
        self._readiness = readiness
        self._pace = pace
        self._keys: KeySet | None = None
        self._failing = False
        self._fetching = True
        self._fetched = asyncio.Event()
        """Set when the current fetch ends, and then replaced."""
        self._wanted = asyncio.Event()
        self._not_before = 0.0
        self._waiting = 0
        readiness.set_reason(
            NotReadyReason.KEYS, f"the keys of {setting} have not been fetched yet"
        )

    @property
    def fresh(self) -> bool:
        """Whether the last fetch succeeded; True before the first one."""
        return not self._failing

    def find(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        """Return the keys of that name; without a name, all that go with the algorithm.

        Raises `NotReady` until the first set is loaded.
        """
        if self._keys is None:
            raise NotReady("this worker has not loaded its verification keys yet; try again later")
        return self._keys.get((kid, algorithm), ())

    async def renew(self) -> None:
        """Request a fetch where one is due, and wait for the current one, `patience` at most.

        Raises `Overloaded` where `MAX_WAITING` requests wait already.
        """
        if not self._fetching:
            now = asyncio.get_running_loop().time()
            if now < self._not_before:
                return
            self._not_before = now + self._pace.unknown
            self._fetching = True
            self._wanted.set()
        if self._waiting >= MAX_WAITING:
            raise Overloaded("too many requests wait for a key; try again later", Refusal.KEYS, 5)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._pace.patience):
                await self._fetched.wait()
        except TimeoutError:
            pass
        finally:
            self._waiting -= 1

    async def run(self) -> None:
        """Keep the keys for as long as the task lives."""
        while True:
            self._fetching = True
            await self._refresh()
            self._fetching = False
            self._wanted.clear()
            self._fetched.set()
            self._fetched = asyncio.Event()
            pause = self._pace.retry if self._failing else self._pace.refresh
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wanted.wait()

    async def load(self) -> KeySet:
        """Fetch the keys once, and return them. Raises `KeySetError`."""
        try:
            self._keys = await self._fetch()
        except KeySetError:
            self._failing = True
            raise
        self._failing = False
        return self._keys

    async def _refresh(self) -> None:
        former, failed_before = self._keys, self._failing
        try:
            keys = await self.load()
        except KeySetError as error:
            detail = f"{self.setting}: {error}"
            if former is None and self._readiness.set_reason(NotReadyReason.KEYS, detail):
                _log.warning("not ready", reason=str(NotReadyReason.KEYS), detail=detail)
            elif not failed_before:
                _log.warning("signing keys cannot be fetched; loaded keys stay", detail=detail)
            return
        if former is None or former.keys() != keys.keys():
            kids = sorted({kid for kid, _ in keys if kid is not None})
            _log.info(
                "signing keys updated",
                count=len(kids),
                kids=[kid[:100] for kid in kids[:MAX_LOGGED]],
                source=self.setting,
            )
        elif failed_before:
            _log.info("signing keys can be fetched again", source=self.setting)
        if self._readiness.clear(NotReadyReason.KEYS):
            _log.info("ready")


async def fetch_issuer_keys(
    issuer: Issuer, http_hosts: Collection[str], patience: float = FETCH_SECONDS
) -> KeySet:
    """Return the keys of an OpenID provider as they are published now.

    Their URL comes from the discovery document (OpenID Connect Discovery, §4), which must name the
    issuer exactly as the settings do. Raises `KeySetError`.
    """
    url = issuer.jwks_url
    if url is None:
        document = await _get(issuer.keys_at, patience)
        try:
            found = msgspec.json.decode(document, type=_Discovery)
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise KeySetError(
                f"{issuer.keys_at} is not a discovery document",
                "set jwks_url where the provider publishes none",
            ) from None
        if found.issuer != issuer.issuer:
            raise KeySetError(
                f"{issuer.keys_at} names the issuer {found.issuer[:200]!r}",
                "write that one exactly",
            )
        url = found.jwks_uri
        if not is_safe_url(url, http_hosts):
            raise KeySetError(
                f"jwks_uri {url[:200]!r} is not https",
                "name its host in GATEWAY_OIDC_HTTP_HOSTS if the network between is trusted",
            )
    return await fetch_key_set(url, issuer.algorithms, patience)


class _Discovery(msgspec.Struct):
    issuer: str
    jwks_uri: str


async def fetch_key_set(
    url: str, algorithms: Sequence[str], patience: float = FETCH_SECONDS
) -> KeySet:
    """Return the key set that is at the URL now.

    Raises `KeySetError`, whose line goes behind the name of the setting. Redirects are not
    followed: they could lead to where the settings would not have allowed. Gives up after
    `patience` seconds, all in all.
    """
    document = await _get(url, patience)
    # Making the keys of a large set takes longer than the event loop may be held.
    return await asyncio.to_thread(read_key_set, document, algorithms)


async def _get(url: str, patience: float) -> bytes:
    try:
        status, document = await answer(
            Exchange(url, patience, MAX_BYTES, {"Accept": "application/json"})
        )
    except AnswerTooLarge as error:
        raise KeySetError(str(error), _URL) from None
    except InvalidAnswer as error:
        raise KeySetError(f"its response is {error}", _URL) from None
    except NoAnswer as error:
        raise KeySetError(str(error), _START) from None
    if status != 200:
        raise KeySetError(*_status(status))
    return document


def _status(status: int) -> tuple[str, str]:
    """Return cause and remedy of a status that is not 200."""
    if 300 <= status < 400:
        return f"it redirects ({status})", "set the URL that it redirects to"
    if status in {404, 410}:
        return f"it answers {status}", _URL
    return f"it answers {status}", "look at the provider's log"
