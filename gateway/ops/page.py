"""`GET /ops`: the dashboard. One page, its style and its scripts, all from the wheel.

These files contain no data and need no token; the paths from which they load data do. The content
security policy limits the page to this listener, and forbids other pages to frame it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp.web_routedef import AbstractRouteDef

ASSETS = (
    "dashboard.css",
    "dashboard.js",
    "charts.js",
    "fleet.js",
    "heat.js",
    "people.js",
    "text.js",
)

PAGE_PATHS = frozenset({"/", "/ops", *(f"/ops/assets/{name}" for name in ASSETS)})

_FILES = Path(__file__).parent / "assets"
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
"""Not what the machine's own table says: by `nosniff` a browser takes no script of another type."""

_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page_routes() -> Iterable[AbstractRouteDef]:
    """Return the routes for the operations listener."""

    async def page(_: web.Request) -> web.FileResponse:
        return web.FileResponse(_FILES / "dashboard.html", headers=_HEADERS)

    async def home(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "ops"})  # relative: below any prefix

    async def asset(request: web.Request) -> web.FileResponse:
        path = _FILES / request.match_info["name"]
        headers = {**_HEADERS, "Content-Type": _TYPES[path.suffix]}
        return web.FileResponse(path, headers=headers)

    return (
        web.get("/", home),
        web.get("/ops", page),
        web.get(f"/ops/assets/{{name:{'|'.join(ASSETS)}}}", asset),
    )
