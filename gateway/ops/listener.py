"""The operations listener: health, readiness, metrics, drain. Never on the public port.

Health and readiness are open, since probes carry no token; the rest asks for `GATEWAY_OPS_TOKEN`
where that is set.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from gateway.errors import Unauthorized
from gateway.http.problem import problems

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config import Settings
    from gateway.ops.metrics import Metrics
    from gateway.ops.readiness import Readiness


def ops_app(
    settings: Settings, readiness: Readiness, metrics: Metrics, drain: Callable[[], None]
) -> web.Application:
    """Return the application; `drain` is called once somebody asks the worker to end."""
    token = settings.ops_token

    def check(request: web.Request) -> None:
        if token is None:
            return
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        # A header holds any bytes, and aiohttp hands those that are not UTF-8 on as surrogates.
        same = hmac.compare_digest(
            given.encode(errors="surrogateescape"), token.get_secret_value().encode()
        )
        if scheme.lower() != "bearer" or not same:
            raise Unauthorized(
                "send GATEWAY_OPS_TOKEN as a bearer token",
                {"WWW-Authenticate": 'Bearer realm="operations"'},
            )

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_: web.Request) -> web.Response:
        return web.json_response(readiness.report(), status=200 if readiness else 503)

    async def show_metrics(request: web.Request) -> web.Response:
        check(request)
        return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def start_drain(request: web.Request) -> web.Response:
        check(request)
        drain()
        return web.json_response({"status": "draining"}, status=202)

    app = web.Application(middlewares=[problems(metrics=None)])
    app.add_routes(
        [
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.get("/metrics", show_metrics),
            web.post("/ops/drain", start_drain),
        ]
    )
    return app
