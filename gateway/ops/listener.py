"""The operations listener: health, metrics, fleet, streams, drain. Never on the public port.

Health and readiness are open, since probes carry no token. With `GATEWAY_OPS_TOKEN` all other paths
need the token, or the cookie that the dashboard gets for it. Without the token the listener is on
loopback, which a browser on this machine can reach: any page can make it send requests here, and
can read the answers if the page's host name resolves to loopback (DNS rebinding). Requests from
pages of other host names are therefore rejected.
"""

from __future__ import annotations

import platform
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiohttp import web

from gateway import __version__
from gateway.errors import Forbidden, Unauthorized
from gateway.http.caller import Callers, finish_headers
from gateway.http.origins import Origins
from gateway.http.problem import problems
from gateway.ops.page import PAGE_PATHS, page_routes
from gateway.ops.session import Sessions
from gateway.secret_file import ReloadingSecret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiohttp.web_routedef import AbstractRouteDef

    from gateway.config import Settings
    from gateway.http.problem import Handler
    from gateway.metrics import Metrics
    from gateway.readiness import Readiness

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""Probes carry no token."""

SIGN_IN_PATHS = PAGE_PATHS | {"/ops/session"}
"""Paths of the sign-in page, which is used before the token is known."""


def ops_app(
    settings: Settings,
    readiness: Readiness,
    metrics: Metrics,
    drain: Callable[[], None],
    routes: Iterable[AbstractRouteDef] = (),
) -> web.Application:
    """Return the application; `drain` is called by `POST /ops/drain`.

    All further `routes` need the token.
    """
    token = None if settings.ops_token is None else ReloadingSecret(settings, "ops_token")
    sessions = None if token is None else Sessions(token)
    origins = Origins(())

    def check(request: web.Request) -> None:
        if sessions is None:
            if not (_is_no_name(request.headers.get("Host")) and origins.trust(request)):
                raise Forbidden(
                    "not for pages of other sites: ask by address or as localhost, have the proxy"
                    " forward Host, or set GATEWAY_OPS_TOKEN"
                )
            return
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        bearer = scheme.lower() == "bearer" and sessions.is_token(given)
        if not (request.path in SIGN_IN_PATHS or bearer or sessions.knows(request)):
            raise Unauthorized(
                "send GATEWAY_OPS_TOKEN as a bearer token",
                {"WWW-Authenticate": 'Bearer realm="operations"'},
            )

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_: web.Request) -> web.Response:
        return web.json_response(readiness.report(), status=200 if readiness else 503)

    async def version(_: web.Request) -> web.Response:
        return web.json_response({"version": __version__, "python": platform.python_version()})

    async def show_metrics(request: web.Request) -> web.Response:
        body, content_type = metrics.exposition(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def start_drain(_: web.Request) -> web.Response:
        drain()
        return web.json_response({"status": "draining"}, status=202)

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in OPEN_PATHS:
            check(request)
        return await handler(request)

    callers = Callers(settings.trusted_proxies)
    app = web.Application(middlewares=[problems(callers, metrics=None), guarded])
    app.on_response_prepare.append(finish_headers)
    app.add_routes(
        [
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.get("/version", version),
            web.get("/metrics", show_metrics),
            web.post("/ops/drain", start_drain),
            *page_routes(),
            *(() if sessions is None else sessions.routes()),
            *routes,
        ]
    )
    return app


def _is_no_name(host: str | None) -> bool:
    """Return whether `Host` is an address or `localhost`, which no other site can own."""
    if host is None:
        return True  # no browser
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or bool(ip_address(name))
    except ValueError:
        return False
