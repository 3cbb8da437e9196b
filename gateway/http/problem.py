"""Errors before a stream opens, as problem details (RFC 9457)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from aiohttp import web
from structlog.contextvars import bind_contextvars

from gateway.errors import HttpError, MethodNotAllowed, NotFound, Unauthorized
from gateway.http.caller import CALLER, Callers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.typedefs import Middleware

    from gateway.metrics import Metrics

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
    Wording = Callable[[web.Request, HttpError, str], web.Response]


def facts(error: HttpError, request_id: str) -> dict[str, str | int]:
    """Return the members of the problem details.

    The request's id is a separate member (RFC 9457, §3.2): `instance` must be a URI.
    """
    return {
        "type": "about:blank",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "request_id": request_id,
    }


def problem(error: HttpError, request_id: str) -> web.Response:
    """Return the response for an error."""
    headers = {"Cache-Control": "no-store", **error.headers}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return web.Response(
        body=msgspec.json.encode(facts(error, request_id)),
        status=error.status,
        headers=headers,
        content_type="application/problem+json",
    )


def problems(
    callers: Callers, metrics: Metrics | None, wording: Wording | None = None
) -> Middleware:
    """Return a middleware that answers and counts every error.

    The answer is problem details, or the result of `wording`. The middleware also identifies the
    caller, for the handler and for log lines about defects.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        caller = request[CALLER] = callers.identify(request)
        bind_contextvars(request_id=caller.request_id)  # aiohttp runs a task for each request
        try:
            return await handler(request)
        except HttpError as error:
            answer = error
        except web.HTTPNotFound:
            answer = NotFound("not found; /openapi.json lists the paths")
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            answer = MethodNotAllowed(f"{request.path} allows only {allowed}", {"Allow": allowed})
        if metrics is not None:
            facts = caller.facts()
            if isinstance(answer, Unauthorized):
                metrics.token_refused(answer.fault)
                facts["token"] = str(answer.fault)
            metrics.rejected(answer.reason, status=answer.status, **facts)
        if wording is not None:
            return wording(request, answer, caller.request_id)
        return problem(answer, caller.request_id)

    return middleware
