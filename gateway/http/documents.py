"""Serves constant texts with a hash as the ETag (RFC 9110, §8.8.3).

The API descriptions, and the JavaScript client beside the stream: one module and its types. They
are public and need no token. A browser revalidates its copy each time, at the cost of a 304. A page
of another origin imports the client by the allow-list.
"""

from __future__ import annotations

import gzip
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import ETag, hdrs, web

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiohttp.web_routedef import AbstractRouteDef

BASE = "/api/v1"

TYPES = {"client.js": "text/javascript", "client.d.ts": "text/plain"}
"""Content types; for `.d.ts`, guessing would return a video type."""


def document_routes(documents: Mapping[str, Mapping[str, Any]]) -> list[AbstractRouteDef]:
    """Return a route for each API description, by its path."""
    return [
        text_route(path, msgspec.json.encode(document), "application/json")
        for path, document in documents.items()
    ]


def client_routes() -> Iterable[AbstractRouteDef]:
    """Return the routes of the client's files."""
    folder = files("gateway") / "http" / "static"
    return [
        text_route(f"{BASE}/{name}", (folder / name).read_bytes(), content_type, "utf-8")
        for name, content_type in TYPES.items()
    ]


def text_route(
    path: str, body: bytes, content_type: str, charset: str | None = None
) -> AbstractRouteDef:
    """Return the route of a text, compressed once; 304 if the client has it."""
    # Hashes of the content, not of the installation: equal on every worker.
    plain = ETag(sha256(body).hexdigest()[:32])
    compressed = gzip.compress(body, mtime=0)
    packed = ETag(f"{plain.value}-gzip")

    async def serve(request: web.Request) -> web.Response:
        known = {tag.value for tag in request.if_none_match or ()}
        packs = "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "").lower()
        if known & {plain.value, packed.value, "*"}:
            response = web.Response(status=304)
        else:
            content = compressed if packs else body
            response = web.Response(body=content, content_type=content_type, charset=charset)
            if packs:
                response.headers[hdrs.CONTENT_ENCODING] = "gzip"
        response.etag = packed if packs else plain
        response.headers[hdrs.CACHE_CONTROL] = "no-cache"
        response.headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
        return response

    return web.get(path, serve)
