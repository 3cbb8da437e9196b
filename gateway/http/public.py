"""The public listener: `GET /api/v1/events`, a client for it, and a welcome line."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from aiohttp import HttpVersion11, web

from gateway import clock
from gateway.core.gap import CloseReason
from gateway.errors import HttpError
from gateway.http.caller import REQUEST_ID, finish_headers
from gateway.http.documents import client_routes
from gateway.http.draining import long_delay, say_goodbye
from gateway.http.transport.connection import FLUSH_SECONDS, Connection, TakenOver
from gateway.http.transport.opening_quota import OpeningQuota
from gateway.http.transport.response_head import ResponseHead

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Sequence

    from aiohttp.typedefs import Middleware
    from aiohttp.web_routedef import AbstractRouteDef

    from gateway.core.feed import PartitionFeed
    from gateway.core.records import Moment
    from gateway.core.stream import Stream
    from gateway.http.auth.claims import Identity
    from gateway.http.caller import Caller
    from gateway.http.origins import Origins
    from gateway.http.request_reader import Asked, RequestReader
    from gateway.http.shards import Shards
    from gateway.http.siblings import Siblings
    from gateway.http.transport.handover import Arrival
    from gateway.parts import Parts

WELCOME = (
    "Server-Sent Events from Kafka: GET /api/v1/events with a bearer token opens your stream.\n"
)

EVENTS = "/api/v1/events"

OPEN_SECONDS = 1.0
"""How long a request may wait until its logs are read.

After the wait, every event written after the response's first bytes is delivered. Usually takes
milliseconds; without Kafka, the stream opens anyway."""

AGE_JITTER = 0.1
"""Random share of the maximum age, so that streams end one by one."""

EXPIRY_JITTER = 0.1
EXPIRY_JITTER_SECONDS = 5.0
"""A stream ends before its token: by up to this share of its life, at most 5 s."""


class EventsEndpoint:
    """Opens streams, and passes their connections to the hub."""

    path = EVENTS

    def __init__(
        self,
        parts: Parts,
        reader: RequestReader,
        shards: Shards | None = None,
        siblings: Siblings | None = None,
    ) -> None:
        settings = parts.settings
        self._settings = settings
        self._reader = reader
        self._admission = reader.admission
        self._hub = parts.hub
        self._readiness = parts.readiness
        self._kafka = parts.kafka
        self._shards = shards
        self._siblings = siblings
        self._head = ResponseHead()
        self.quota = OpeningQuota()
        # Longer than `slow`, which sends a closing event: the kernel just drops the connection.
        patience = max(settings.heartbeat_seconds, settings.slow_seconds)
        self.patience = patience + 2 * FLUSH_SECONDS

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer `GET /api/v1/events`. Raises `HttpError` if no stream can be opened."""
        await self.quota.wait()  # verifying a token costs as much as the rest of an opening
        asked = await self._reader.read_patiently(request)
        opening = asked.opening
        with self._admission.opening():
            if self._shards is not None:
                elsewhere = await self._shards.elsewhere(request, opening.user)
                if elsewhere is not None:
                    return elsewhere
            if self._siblings is not None and self._siblings.pass_on(request, opening.user):
                return TakenOver()
            await self._admission.find_room(opening)  # before a log is read for it
            if self._kafka.at_hand(opening) is None:
                await self._kafka.prepare(opening, OPEN_SECONDS)
                # All requests that waited for a log resume in one turn.
                await self.quota.wait(again=True)
        feeds = self._kafka.feeds(opening)  # the topics may have changed meanwhile
        self._reader.confirm(asked)  # the token may have been revoked meanwhile
        moment = clock.now()
        replaced = self._admission.admit(opening, moment)  # other streams may have opened meanwhile
        connection = self._connection(request, asked.caller)
        if connection.take_over(request):
            self._open(asked, feeds, connection, replaced, moment)
        return TakenOver()

    # The acceptor calls the following methods.

    def destination(self, data: bytes) -> int | None:
        """Return the slot of the worker process that a request belongs to; None: this one."""
        return None if self._siblings is None else self._siblings.destination(data)

    def hand_over(self, slot: int, arrivals: Iterable[Arrival]) -> list[Arrival]:
        """Hand connections to the worker process of a slot; return the unsent ones."""
        assert self._siblings is not None
        return self._siblings.handover.hand_over(slot, arrivals)

    def open_at_once(self, request: web.Request, wire: asyncio.Transport) -> bool:
        """Open a stream if every check passes without waiting.

        Returns False if it had no effect: `handle` then serves the request or rejects it with the
        reason.
        """
        try:
            asked = self._reader.read(request)
            opening = asked.opening
            if self._shards is not None and not self._shards.is_here(request, opening.user):
                return False
            feeds = self._kafka.at_hand(opening)
            if feeds is None:
                return False
            moment = clock.now()
            replaced = self._admission.admit(opening, moment)
        except HttpError:
            return False
        connection = self._connection(request, asked.caller)
        connection.attach(wire)
        self._open(asked, feeds, connection, replaced, moment)
        return True

    def _connection(self, request: web.Request, caller: Caller) -> Connection:
        chunked = request.version >= HttpVersion11
        headers = {**self._reader.origins.headers(request), REQUEST_ID: caller.request_id}
        head = self._head.of(request, headers, chunked=chunked)
        return Connection(self._hub, head, caller, chunked=chunked, patience=self.patience)

    def _open(
        self,
        asked: Asked,
        feeds: tuple[PartitionFeed, ...],
        connection: Connection,
        replaced: list[Stream],
        moment: Moment,
    ) -> None:
        for stream in replaced:
            self._hub.close(stream, CloseReason.REPLACED, moment)
        deadlines = self._deadlines(asked.identity, moment)
        stream = self._hub.open(asked.opening, feeds, connection, deadlines, moment)
        self._admission.opened(stream, moment)
        if self._readiness.draining:
            # Not a 503, after which an `EventSource` gives up: it keeps its id and reconnects.
            say_goodbye(self._hub, stream, long_delay(self._settings))

    def _deadlines(self, identity: Identity, moment: Moment) -> Sequence[tuple[float, CloseReason]]:
        left = identity.expires_at - moment.wall / 1000
        spread = min(left * EXPIRY_JITTER, EXPIRY_JITTER_SECONDS)
        begin, age = moment.monotonic, self._settings.max_stream_age_seconds
        return (
            (begin + left - random.uniform(spread / 2, spread), CloseReason.TOKEN_EXPIRED),  # noqa: S311
            (begin + age * random.uniform(1 - AGE_JITTER, 1), CloseReason.MAX_AGE),  # noqa: S311
        )


def public_app(
    endpoint: EventsEndpoint,
    origins: Origins,
    middlewares: Sequence[Middleware],
    routes: Iterable[AbstractRouteDef] = (),
) -> web.Application:
    """Return the public application with `routes`; `middlewares` answer its errors."""

    async def welcome(_: web.Request) -> web.Response:
        return web.Response(text=WELCOME)

    app = web.Application(middlewares=middlewares)
    app.on_response_prepare.extend((origins.add_headers, finish_headers))
    app.add_routes(
        [
            web.get("/", welcome),
            # HEAD would open a stream without a reader.
            web.get(EVENTS, endpoint.handle, allow_head=False),
            *client_routes(),
            *([web.options(EVENTS, origins.preflight)] if origins else []),
            *routes,
        ]
    )
    return app
