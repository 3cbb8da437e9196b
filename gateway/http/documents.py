"""Texts that stay the same while a worker runs, served: told apart by a hash (RFC 9110, §8.8.3)."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import ETag, web

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.web_routedef import AbstractRouteDef


def document_routes(documents: Mapping[str, Mapping[str, Any]]) -> list[AbstractRouteDef]:
    """Return a route for each description of an interface, by its path."""
    return [
        text_route(path, msgspec.json.encode(document), "application/json")
        for path, document in documents.items()
    ]


def text_route(
    path: str, body: bytes, content_type: str, charset: str | None = None
) -> AbstractRouteDef:
    """Return the route of a text. A client that has it is told so in a few bytes."""
    # Of what it holds and not of when it was installed: the same at every worker.
    etag = ETag(sha256(body).hexdigest()[:32])

    async def serve(request: web.Request) -> web.Response:
        known = {tag.value for tag in request.if_none_match or ()}
        if known & {etag.value, "*"}:
            response = web.Response(status=304)
        else:
            response = web.Response(body=body, content_type=content_type, charset=charset)
        response.etag = etag
        response.headers["Cache-Control"] = "no-cache"
        return response

    return web.get(path, serve)
