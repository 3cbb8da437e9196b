"""Descriptions of an interface, served: made once, and told apart by a hash (RFC 9110, §8.8.3)."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import ETag, web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiohttp.web_routedef import AbstractRouteDef


def document_routes(documents: Mapping[str, Mapping[str, Any]]) -> list[AbstractRouteDef]:
    """Return a route for each document, by its path."""
    return [web.get(path, _server(document)) for path, document in documents.items()]


def _server(document: Mapping[str, Any]) -> Callable[[web.Request], Awaitable[web.Response]]:
    body = msgspec.json.encode(document)
    etag = ETag(sha256(body).hexdigest()[:32])

    async def serve(request: web.Request) -> web.Response:
        known = {tag.value for tag in request.if_none_match or ()}
        if known & {etag.value, "*"}:
            response = web.Response(status=304)
        else:
            response = web.Response(body=body, content_type="application/json")
        response.etag = etag
        response.headers["Cache-Control"] = "no-cache"
        return response

    return serve
