"""Rules for pages of other origins: access to streams (CORS), and cookies.

A browser sends `Origin` with every request that a script of another origin makes, an `EventSource`
included, and `Sec-Fetch-Site` with every request to a host that it trusts. No page can set either.
The allow-list holds origins exactly as browsers write them; wildcards are not supported: an
answer is for one user (Fetch standard, §3.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs, web

if TYPE_CHECKING:
    from collections.abc import Iterable

METHODS = "GET"

HEADERS = "Authorization, Cache-Control, Last-Event-ID, Traceparent, Tracestate"
"""Request headers of pages that use `fetch`: token, last event id, trace."""

EXPOSED = "Retry-After, WWW-Authenticate, X-Request-Id"
"""Response headers that a page needs to handle errors and quote the request id."""

MAX_AGE_SECONDS = 7200
"""How long a browser may cache a preflight response: the maximum of Chromium."""

_OWN = frozenset({"same-origin", "none"})
"""`Sec-Fetch-Site` of the page's own origin, and of an address that a user typed."""


class Origins:
    """The allow-list of origins, applied to requests."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = frozenset(allowed)

    def __bool__(self) -> bool:
        return bool(self._allowed)

    def trust(self, request: web.Request) -> bool:
        """Return whether the cookies count: no other site caused the request.

        Clients other than browsers send neither header, and carry no cookie that they were not
        given for this. An old browser that does not send `Sec-Fetch-Site` still sends `Origin` with
        an `EventSource` to another origin; to requests that cannot read the answer, such as an
        image's, it gives the cookie only if that says `SameSite=None`.
        """
        origin = request.headers.get(hdrs.ORIGIN)
        if origin in self._allowed:
            return True
        if request.headers.get("Sec-Fetch-Site", "none") not in _OWN:
            return False
        own = request.headers.get(hdrs.HOST)  # the property would look up the host name
        return origin is None or origin.partition("://")[2] == own

    def headers(self, request: web.Request) -> dict[str, str]:
        """Return the headers for every response to the request, including errors."""
        headers = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
        if self._allowed:
            headers["Vary"] = "Origin"
            origin = request.headers.get(hdrs.ORIGIN)
            if origin in self._allowed:
                headers["Access-Control-Allow-Origin"] = origin
                headers["Access-Control-Allow-Credentials"] = "true"
                headers["Access-Control-Expose-Headers"] = EXPOSED
        return headers

    async def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Give a response these headers; a signal of aiohttp, sent before each."""
        added = self.headers(request)
        varies = dict.fromkeys(
            headers[hdrs.VARY] for headers in (response.headers, added) if hdrs.VARY in headers
        )
        response.headers.update(added)
        if varies:
            response.headers[hdrs.VARY] = ", ".join(varies)

    async def preflight(self, request: web.Request) -> web.Response:
        """Answer a preflight request for additional headers."""
        headers = {"Cache-Control": "no-store"}
        if request.headers.get(hdrs.ORIGIN) in self._allowed:
            headers["Access-Control-Allow-Methods"] = METHODS
            headers["Access-Control-Allow-Headers"] = HEADERS
            headers["Access-Control-Max-Age"] = str(MAX_AGE_SECONDS)
        return web.Response(status=204, headers=headers)
