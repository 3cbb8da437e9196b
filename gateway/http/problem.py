"""Errors before a stream opens, as problem details (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from gateway.errors import HttpError, MethodNotAllowed, NotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.typedefs import Middleware

    from gateway.ops.metrics import Metrics

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def problem(error: HttpError) -> web.Response:
    """Return the answer for an error."""
    headers = {"Cache-Control": "no-store", **error.headers}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    facts = {
        "type": "about:blank",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
    }
    return web.Response(
        body=msgspec.json.encode(facts),
        status=error.status,
        headers=headers,
        content_type="application/problem+json",
    )


def problems(metrics: Metrics | None) -> Middleware:
    """Return a middleware that answers every error with problem details, and counts it."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except HttpError as error:
            answer = error
        except web.HTTPNotFound:
            answer = NotFound("there is nothing here; streams are at /api/v1/events")
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            answer = MethodNotAllowed(f"{request.path} takes {allowed}", {"Allow": allowed})
        if metrics is not None:
            metrics.rejected(answer.reason or HTTPStatus(answer.status).name.lower())
        return problem(answer)

    return middleware
