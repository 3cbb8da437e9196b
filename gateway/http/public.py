"""The public listener: one endpoint, `GET /api/v1/events`, and a line that says so."""

from __future__ import annotations

import random
from email.utils import formatdate
from typing import TYPE_CHECKING

from aiohttp import HttpVersion11, web

from gateway import clock
from gateway.core.frame import CloseReason
from gateway.errors import NotReady
from gateway.http.auth import token_of
from gateway.http.caller import CALLER, REQUEST_ID, add_request_id
from gateway.http.connection import FLUSH_SECONDS, Connection, TakenOver
from gateway.http.gate import Gate
from gateway.http.problem import problems
from gateway.http.query import read_opening

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from aiohttp.web_routedef import AbstractRouteDef

    from gateway.config import Settings
    from gateway.core.hub import Hub
    from gateway.core.log import Moment
    from gateway.core.opening import Opening
    from gateway.core.registry import Registry
    from gateway.core.stream import Feed, Stream
    from gateway.http.auth import Authenticator, Identity
    from gateway.http.caller import Callers
    from gateway.http.origins import Origins
    from gateway.ops.metrics import Metrics
    from gateway.ops.readiness import Readiness

WELCOME = (
    "Server-Sent Events from Kafka: GET /api/v1/events with a bearer token opens your stream.\n"
)

EVENTS = "/api/v1/events"

OPEN_SECONDS = 1.0
"""How long a request may wait until its logs are read, so that all that is written after its first
bytes is delivered. It takes milliseconds; while Kafka is away, the stream opens without."""

AGE_JITTER = 0.1
"""The part of the maximum age that is drawn for each stream: they end one by one."""

EXPIRY_JITTER = 0.1
EXPIRY_JITTER_SECONDS = 5.0
"""A stream ends a little before its token does: by this part of what is left, at most this long."""


class EventsEndpoint:
    """Opens streams: who asks, for what, and from where; then the connection is the hub's."""

    def __init__(
        self,
        settings: Settings,
        authenticator: Authenticator,
        origins: Origins,
        hub: Hub,
        registry: Registry,
        readiness: Readiness,
        follow: Callable[[Opening], Awaitable[tuple[Feed, ...]]],
    ) -> None:
        self._settings = settings
        self._authenticator = authenticator
        self._origins = origins
        self._hub = hub
        self._registry = registry
        self._readiness = readiness
        self._follow = follow
        self._gate = Gate(settings, hub)
        # Not before `slow`, which says goodbye: the kernel just cuts a connection off.
        patience = max(settings.heartbeat_seconds, settings.slow_seconds)
        self._patience = patience + 2 * FLUSH_SECONDS

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer `GET /api/v1/events`. Raises `HttpError` where no stream can be opened."""
        caller = request[CALLER]
        self._gate.check(request)
        with self._gate.opening():
            token = token_of(request, self._settings, self._origins)
            identity = await self._authenticator.identify(token)
            opening = read_opening(request, identity, self._registry.categories)
            opening = opening._replace(address=self._gate.address(caller))
            if not self._readiness.ever:
                raise NotReady("this worker has not reached Kafka yet; try again in a moment")
            await self._gate.find_room(opening)  # before a log is read for it
            feeds = await self._follow(opening)
        self._authenticator.admit(identity)  # it may have been revoked meanwhile
        moment = clock.now()
        replaced = self._gate.admit(opening, moment)  # others may have come meanwhile
        chunked = request.version >= HttpVersion11
        headers = {**self._origins.headers(request), REQUEST_ID: caller.request_id}
        head = _head(request, headers, chunked=chunked)
        connection = Connection(self._hub, head, caller, chunked=chunked, patience=self._patience)
        if connection.take_over(request):
            self._gate.replace(replaced, moment)
            deadlines = self._deadlines(identity, moment)
            stream = self._hub.open(opening, feeds, connection, deadlines, moment)
            self._gate.opened(stream, moment)
            if self._readiness.draining:
                # Not a 503, at which an `EventSource` gives up: it keeps its id and comes back.
                say_goodbye(self._hub, stream, self._settings)
        return TakenOver()

    def _deadlines(self, identity: Identity, moment: Moment) -> Sequence[tuple[float, CloseReason]]:
        left = identity.expires_at - moment.wall / 1000
        spread = min(left * EXPIRY_JITTER, EXPIRY_JITTER_SECONDS)
        begin, age = moment.monotonic, self._settings.max_stream_age_seconds
        return (
            (begin + left - random.uniform(spread / 2, spread), CloseReason.TOKEN_EXPIRED),  # noqa: S311
            (begin + age * random.uniform(1 - AGE_JITTER, 1), CloseReason.MAX_AGE),  # noqa: S311
        )


def say_goodbye(hub: Hub, stream: Stream, settings: Settings) -> None:
    """End a stream because its worker ends, and tell its client when to come back.

    Spread twice: a drain ends streams one by one, and each client waits for another time.
    """
    retry = int(settings.retry_ms * random.uniform(1, 2))  # noqa: S311
    hub.close(stream, CloseReason.DRAINING, clock.now(), retry)


def public_app(
    endpoint: EventsEndpoint,
    origins: Origins,
    callers: Callers,
    metrics: Metrics,
    routes: Iterable[AbstractRouteDef] = (),
) -> web.Application:
    """Return the public application; `routes` are added to it."""

    async def welcome(_: web.Request) -> web.Response:
        return web.Response(text=WELCOME)

    app = web.Application(middlewares=[problems(callers, metrics)])
    app.on_response_prepare.extend((origins.add_headers, add_request_id))
    app.add_routes(
        [
            web.get("/", welcome),
            # HEAD would open a stream for nobody.
            web.get(EVENTS, endpoint.handle, allow_head=False),
            *([web.options(EVENTS, origins.preflight)] if origins else []),
            *routes,
        ]
    )
    return app


def _head(request: web.Request, headers: dict[str, str], *, chunked: bool) -> bytes:
    """Return status line and headers of a stream; `headers` are those of every answer."""
    # A token in the URL is part of the key under which a cache would keep what it must not answer
    # with; `no-cache` alone lets it keep that (RFC 9111, §5.2.2.4; RFC 6750, §2.3).
    cache = "no-cache, no-store" if "access_token" in request.query else "no-cache"
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    transfer = "Transfer-Encoding: chunked\r\n" if chunked else ""
    return (
        "HTTP/1.1 200 OK\r\n"
        "Content-Type: text/event-stream\r\n"
        f"Cache-Control: {cache}\r\n"
        f"Connection: {'keep-alive' if chunked else 'close'}\r\n"
        "X-Accel-Buffering: no\r\n"
        f"{transfer}"
        f"Date: {formatdate(usegmt=True)}\r\n"
        f"{more}"
        "\r\n"
    ).encode()
