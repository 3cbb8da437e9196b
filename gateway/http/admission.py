"""Admission of streams: limits, and the errors of requests beyond them.

The cheapest checks come first: rejected requests of a reconnect storm must cost little. Limits
reject new streams and keep open ones. The one exception is a stream that is stuck.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gateway import clock
from gateway.core.admission import Capacity, Refusal, ReplayQuota
from gateway.core.stream import State, Stream
from gateway.errors import HeadTooLarge, Overloaded, TooMany, UriTooLong
from gateway.http.transport.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp import web

    from gateway.config import Settings
    from gateway.core.hub import Hub
    from gateway.core.records import Moment
    from gateway.core.request import StreamRequest
    from gateway.http.caller import Caller

MAX_URL = 12_288
"""Characters of path and query: room for a token, an id and every category."""

MAX_HEAD_BYTES = 32_768
"""Bytes of all header fields: room for a token, an id and a site's cookies."""

MAX_OPENINGS = 1000
"""Streams being opened at the same time.

An opening waits only for Kafka, at most two seconds; a request that waits for a signing key does
not count (`jwks_client.MAX_WAITING`)."""

REPLAYS_FOR_EACH = 2
REPLAY_SECONDS = 10.0
"""Replay quota of a user.

A burst of `REPLAYS_FOR_EACH` for each permitted stream, for example when all streams reconnect to a
restarted worker, then one replay in `REPLAY_SECONDS`."""

ANSWER_SECONDS = 2.0
"""Time limit for a client's TCP acknowledgement.

The kernel retransmits after 0.2 s or more, then after double the pause: twice in this time, even
for a client 300 ms away."""

RETRY_AFTER = (5, 15)
"""Range in seconds of the random retry delay; it spreads a storm's retries."""

_TEXTS = {
    Refusal.USER: "all streams that a user may have are open; close one, or try again later",
    Refusal.ADDRESS: "all streams that one address may have are open; try again later",
    Refusal.WORKER: "this worker has all the streams that it may have; try again, or elsewhere",
    Refusal.REPLAYS: "too many replays for this user; try again later with the same id",
    Refusal.KEYS: "too many requests wait for a key; try again later",
    Refusal.OPENINGS: "too many streams are being opened at this moment; try again later",
}


class StreamAdmission:
    """Admits new streams.

    Call `check`, then `opening` as the context of every wait for Kafka, with `find_room` inside;
    then `admit` and `opened`, in one synchronous step with the opening of the stream.
    """

    def __init__(self, settings: Settings, hub: Hub) -> None:
        self._hub = hub
        self._capacity = Capacity(
            settings.max_streams, settings.max_streams_per_user, settings.max_streams_per_address
        )
        # Also needed for the log behind proxies, where the peer is the proxy.
        self._by_address = settings.max_streams_per_address is not None or bool(
            settings.trusted_proxies
        )
        self._replays = ReplayQuota(
            REPLAYS_FOR_EACH * settings.max_streams_per_user, REPLAY_SECONDS
        )
        self._openings = 0
        self._asking: set[bytes] = set()
        """Users whose streams are being probed."""

    def check(self, request: web.Request) -> None:
        """Reject cheaply: an oversized request, or the worker is full.

        Raises `HttpError`.
        """
        if len(request.raw_path) > MAX_URL:
            raise UriTooLong(f"path and query have more than {MAX_URL} characters")
        if sum(len(name) + len(value) for name, value in request.raw_headers) > MAX_HEAD_BYTES:
            raise HeadTooLarge(f"the headers have more than {MAX_HEAD_BYTES} bytes")
        places = self._hub.open_streams
        if len(places.streams) >= self._capacity.worker and not places.stuck:
            raise refused(Refusal.WORKER)

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Count a stream that is being opened. Raises `Overloaded` at `MAX_OPENINGS`."""
        if self._openings >= MAX_OPENINGS:
            raise refused(Refusal.OPENINGS)
        self._openings += 1
        try:
            yield
        finally:
            self._openings -= 1

    def address(self, caller: Caller) -> str:
        """Return the client address, as limits count it; empty if not needed."""
        return caller.address if self._by_address else ""

    async def find_room(self, opening: StreamRequest) -> None:
        """Check early whether a limit rejects the new stream. Raises `Refused` if so.

        If the user is at its limit, probe the user's streams and wait `ANSWER_SECONDS`: streams
        that a phone abandoned on a network change do not block its new one. Only one request of a
        user waits at a time, so that one user cannot delay others.
        """
        user = opening.user
        if self._verdict(opening) is Refusal.USER and user not in self._asking:
            self._asking.add(user)
            try:
                self._hub.probe(user, clock.now())
                await asyncio.sleep(ANSWER_SECONDS)
            finally:
                self._asking.discard(user)
        self.admit(opening, clock.now())

    def admit(self, opening: StreamRequest, moment: Moment) -> list[Stream]:
        """Return the streams to close for the new one. Raises `Refused`."""
        if opening.cursor or opening.since is not None:
            wait = self._replays.wait_seconds(opening.user, moment.monotonic)
            if wait > 0:
                raise refused(Refusal.REPLAYS, wait)
        verdict = self._verdict(opening)
        if isinstance(verdict, Refusal):
            raise refused(verdict)
        return verdict

    def opened(self, stream: Stream, moment: Moment) -> None:
        """Count the replay of an admitted stream."""
        if stream.state is State.REPLAYING:
            self._replays.count(stream.key, moment.monotonic)

    def _verdict(self, opening: StreamRequest) -> Refusal | list[Stream]:
        return self._hub.open_streams.admit(
            opening.user, opening.address, self._capacity, _unanswered
        )


def _unanswered(stream: Stream) -> bool:
    assert isinstance(stream.sink, Connection)
    return stream.sink.unanswered()


def refused(refusal: Refusal, wait: float = 0) -> TooMany | Overloaded:
    """Return the error for a rejected stream; `wait` is the seconds until a retry can succeed."""
    seconds = int(wait) + random.randint(*RETRY_AFTER)  # noqa: S311
    if refusal in (Refusal.WORKER, Refusal.OPENINGS, Refusal.KEYS):
        return Overloaded(_TEXTS[refusal], refusal, seconds)
    return TooMany(_TEXTS[refusal], refusal, seconds)
