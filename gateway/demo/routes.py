"""HTTP routes of the demo page, beside the stream itself.

    GET  /demo           the page; its style sheet and scripts are below this path
    GET  /demo/config    users, categories and the event types to listen for
    GET  /demo/token     a short-lived token for a user, without authentication
    GET  /demo/counts    number of published events in each lane of a user's stream
    POST /demo/send      publish one event of a type for a user

`gateway serve` does not serve these routes.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.demo.activity import ANNOUNCEMENT
from gateway.errors import BadRequest, NotReady, PublishError
from gateway.tokens import mint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.config import Settings
    from gateway.core.registry import Registry
    from gateway.demo.numbering import NumberedPublisher

TOKEN_SECONDS = 600
"""Lifetime of a page token: short enough to observe expiry and renewal."""

ASSETS = ("page.css", "page.js", "device.js", "view.js", "continuity.js")

_HERE = Path(__file__).parent
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; img-src data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


class DemoRoutes:
    """The request handlers of the demo and their shared state."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        publisher: NumberedPublisher,
        teams: Mapping[str, Sequence[str]],
        types: Sequence[str] = (ANNOUNCEMENT,),
    ) -> None:
        """`teams` are those of each user; `types` are those outside of the registry."""
        self._settings = settings
        self._registry = registry
        self._publisher = publisher
        self._teams = teams
        self._types = types

    def routes(self) -> list[web.RouteDef]:
        """Return the routes that the worker serves beside the stream."""
        return [
            web.get("/demo", self.page),
            web.get(f"/demo/{{name:{'|'.join(ASSETS)}}}", self.asset),
            web.get("/demo/config", self.config),
            web.get("/demo/token", self.token),
            web.get("/demo/counts", self.counts),
            web.post("/demo/send", self.send),
        ]

    async def page(self, request: web.Request) -> web.FileResponse:
        """Serve the page."""
        del request
        return web.FileResponse(_HERE / "page.html", headers=_HEADERS)

    async def asset(self, request: web.Request) -> web.FileResponse:
        """Serve a style sheet or script; the route matches only `ASSETS`."""
        return web.FileResponse(_HERE / request.match_info["name"], headers=_HEADERS)

    async def config(self, request: web.Request) -> web.Response:
        """Return the page configuration; an `EventSource` needs the name of each event type."""
        del request
        categories: dict[str, list[str]] = {name: [] for name in self._registry.categories}
        for event_type, category in self._registry.types.items():
            categories[category].append(event_type)
        return web.json_response(
            {
                "users": list(self._teams),
                "categories": categories,
                "types": [*self._registry.types, *self._types, "stream.gap", "stream.close"],
                "retry_ms": self._settings.retry_ms,
            }
        )

    async def token(self, request: web.Request) -> web.Response:
        """Return a token for `?user=`."""
        user, session = self._user(request), secrets.token_hex(4)
        token = mint(self._settings, user, session, TOKEN_SECONDS, time.time(), self._teams[user])
        return web.json_response({"token": token, "expires_in": TOKEN_SECONDS})

    async def counts(self, request: web.Request) -> web.Response:
        """Return the lane counts of `?user=` and the current time (Unix ms)."""
        lanes = self._publisher.counts(self._user(request))
        return web.json_response({"now": round(time.time() * 1000), "lanes": lanes})

    async def send(self, request: web.Request) -> web.Response:
        """Publish one event of `?type=` for `?user=`; respond when Kafka acknowledged it."""
        user, event_type = self._user(request), request.query.get("type", "")
        if self._registry.category_of(event_type) is None:
            raise BadRequest("type: name a type of the registry, for example import.completed")
        try:
            await self._publisher.publish(user, event_type, {"note": "sent from the demo page"})
        except PublishError as error:
            raise NotReady(str(error)) from None
        return web.json_response({"type": event_type}, status=201)

    def _user(self, request: web.Request) -> str:
        user = request.query.get("user", "")
        if user not in self._teams:
            raise BadRequest(f"user: choose one of {', '.join(self._teams)}")
        return user
