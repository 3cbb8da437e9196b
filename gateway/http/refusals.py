"""Error responses of the public listener: problem details or a stream.

An `EventSource` gives up on every status but 200. For page authors that cannot change that,
`GATEWAY_REFUSE_BY_STREAM` answers 429 and 503 by a stream that ends at once: it says why in
`stream.close` and when to come back in `retry:`. The cost: balancers and monitors see a 200, so a
balancer does not try another worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
from aiohttp import hdrs, web

from gateway.core import frame
from gateway.http.problem import problem
from gateway.http.query import last_event_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp.web_routedef import AbstractRouteDef

    from gateway.config import Settings
    from gateway.core.registry import Registry
    from gateway.errors import HttpError

METADATA = "/.well-known/oauth-protected-resource"

SOFTENED = frozenset({429, 503})


class Refusals:
    """Formats errors of the public listener."""

    def __init__(self, settings: Settings) -> None:
        self._by_stream = settings.refuse_by_stream
        self._retry_ms = settings.retry_ms
        url = settings.resource_url
        self._metadata = "" if url is None else f', resource_metadata="{_metadata_url(url)}"'

    def answer(self, request: web.Request, error: HttpError, request_id: str) -> web.Response:
        """Return the response for an error."""
        wants_stream = "text/event-stream" in request.headers.get(hdrs.ACCEPT, "")
        if self._by_stream and error.status in SOFTENED and wants_stream:
            return self._stream(request, error)
        response = problem(error, request_id)
        challenge = response.headers.get(hdrs.WWW_AUTHENTICATE)
        if challenge is not None:  # RFC 9728, §5.1
            response.headers[hdrs.WWW_AUTHENTICATE] = challenge + self._metadata
        return response

    def _stream(self, request: web.Request, error: HttpError) -> web.Response:
        wait = self._retry_ms if error.retry_after is None else error.retry_after * 1000
        reason = msgspec.json.encode({"reason": error.reason})
        body = frame.retry(wait)
        # A block without an id would clear the client's last event id (HTML standard, §9.2.6).
        text = last_event_id(request)
        if text and text.isprintable():
            body += frame.id_line(text.encode(errors="replace"))
        body += frame.event_body("stream.close", reason)
        return web.Response(
            body=body, headers={hdrs.CACHE_CONTROL: "no-store"}, content_type="text/event-stream"
        )


def metadata_routes(settings: Settings, registry: Registry) -> Iterable[AbstractRouteDef]:
    """Return the route of the protected resource's metadata (RFC 9728), if its URL is set."""
    if settings.resource_url is None:
        return []
    issuers = [issuer.issuer for issuer in settings.oidc_issuers]
    if settings.jwt_issuer is not None and settings.jwt_issuer.startswith("https://"):
        issuers.append(settings.jwt_issuer)
    limited = settings.jwt_scope_claim or any(each.scope_claim for each in settings.oidc_issuers)
    metadata: dict[str, object] = {
        "resource": settings.resource_url,
        "bearer_methods_supported": ["header", *(["query"] if settings.token_query else [])],
    }
    if issuers:
        metadata["authorization_servers"] = issuers
    if limited:
        metadata["scopes_supported"] = [
            f"{settings.scope_prefix}{category}" for category in registry.categories
        ]

    async def show(_: web.Request) -> web.Response:
        return web.Response(
            body=msgspec.json.encode(metadata),
            content_type="application/json",
            headers={hdrs.CACHE_CONTROL: "max-age=3600"},
        )

    return [web.get(metadata_path(settings.resource_url), show)]


def metadata_path(resource: str) -> str:
    """Return the path of the metadata: it goes before the resource's own (RFC 9728, §3.1)."""
    return METADATA + urlsplit(resource).path.rstrip("/")


def _metadata_url(resource: str) -> str:
    parts = urlsplit(resource)
    return f"{parts.scheme}://{parts.netloc}{metadata_path(resource)}"
