"""The JavaScript client, served where the stream is: one module, and its types.

They hold no secret, so they need no token. A browser asks each time whether what it has is still
the newest, and is told so in a few bytes. A page of another origin imports it by the allow-list.
"""

from __future__ import annotations

import zlib
from importlib.resources import files
from typing import TYPE_CHECKING

from aiohttp import ETag, hdrs, web

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp.web_routedef import AbstractRouteDef

BASE = "/api/v1"

TYPES = {"client.js": "text/javascript", "client.d.ts": "text/plain"}
"""What would be guessed for the second is a kind of film."""


def client_routes() -> Iterable[AbstractRouteDef]:
    """Return what serves the client."""
    return [_route(name, content_type) for name, content_type in TYPES.items()]


def _route(name: str, content_type: str) -> web.RouteDef:
    text = (files("gateway") / "clients" / name).read_text(encoding="utf-8")
    # Of what it holds and not of when it was installed: the same at every worker.
    tag = ETag(f"{zlib.crc32(text.encode()):08x}")

    async def serve(request: web.Request) -> web.Response:
        known = request.if_none_match or ()
        fresh = any(one.value in (tag.value, "*") for one in known)
        answer = (
            web.Response(status=304)
            if fresh
            else web.Response(text=text, content_type=content_type, charset="utf-8")
        )
        answer.etag = tag
        answer.headers[hdrs.CACHE_CONTROL] = "no-cache"
        return answer

    return web.get(f"{BASE}/{name}", serve)
