"""Serves the JavaScript client beside the stream: one module and its types.

The files are public and served without a token. A browser revalidates its copy each time, at the
cost of a 304. A page of another origin imports it by the allow-list.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from gateway.http.documents import text_route

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp.web_routedef import AbstractRouteDef

BASE = "/api/v1"

TYPES = {"client.js": "text/javascript", "client.d.ts": "text/plain"}
"""Content types; for `.d.ts`, guessing would return a video type."""


def client_routes() -> Iterable[AbstractRouteDef]:
    """Return the routes of the client's files."""
    folder = files("gateway") / "http" / "static"
    return [
        text_route(f"{BASE}/{name}", (folder / name).read_bytes(), content_type, "utf-8")
        for name, content_type in TYPES.items()
    ]
