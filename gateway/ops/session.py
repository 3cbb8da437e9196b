"""Sign-in at the dashboard for browsers, which send no `Authorization` header by themselves.

    POST /ops/session      {"token": …}: 204 and a cookie
    DELETE /ops/session    204, and the cookie is gone

The cookie is the time at which the sign-in expires and a keyed hash of that time: a worker stores
nothing, each worker with the same token accepts it, and a new token invalidates all cookies.
Scripts cannot read it (`HttpOnly`) and other sites cannot send it (`SameSite=Strict`). Browsers
treat all ports of a host as one site, so the cookie counts only where `Sec-Fetch-Site` and `Origin`
show that the page is served by this listener.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from gateway import clock
from gateway.errors import BadRequest, Forbidden, Unauthorized
from gateway.http.origins import Origins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiohttp.web_routedef import AbstractRouteDef

SESSION_SECONDS = 12 * 3600
"""A shift; a screen on a wall is signed in again each morning."""

MAX_BODY = 4096

COOKIE = "gateway_ops"
_PATH = ""
"""None is sent, so the browser takes the folder of `/ops/session`, with a proxy's prefix if any."""


class _SignIn(msgspec.Struct):
    token: str


class Sessions:
    """Makes and verifies the cookies of the operations token that `token` returns.

    A changed token applies to the next request, and invalidates all cookies.
    """

    def __init__(self, token: Callable[[], str]) -> None:
        self._token = token
        self._origins = Origins(())

    def routes(self) -> Iterable[AbstractRouteDef]:
        """Return the routes for the operations listener; the token in the body signs in."""
        return (
            web.post("/ops/session", self._sign_in),
            web.delete("/ops/session", self._sign_out),
        )

    def is_token(self, given: str) -> bool:
        """Whether it is the token; takes the same time whatever is given."""
        # A header may hold any bytes; aiohttp decodes bytes that are not UTF-8 to surrogates.
        return hmac.compare_digest(given.encode(errors="surrogateescape"), self._token().encode())

    def knows(self, request: web.Request) -> bool:
        """Whether the request has a cookie that is valid, and comes from the dashboard."""
        given = request.cookies.get(COOKIE, "")
        end, _, _ = given.partition(".")
        if not (end.isascii() and end.isdigit() and len(end) < 20):
            return False
        valid = hmac.compare_digest(given.encode(errors="surrogateescape"), self._cookie(int(end)))
        return valid and int(end) > clock.now().wall and self._origins.trust(request)

    async def _sign_in(self, request: web.Request) -> web.Response:
        if not self._origins.trust(request):
            raise Forbidden("not for pages of other sites; a proxy must forward Host")
        if request.content_length is None or request.content_length > MAX_BODY:
            raise BadRequest('send {"token": …} as JSON')
        try:
            # JSON can contain a lone surrogate, which cannot be encoded.
            given = msgspec.json.decode(await request.read(), type=_SignIn).token
            given.encode()
        except ValueError:
            raise BadRequest('send {"token": …} as JSON') from None
        if not self.is_token(given):
            raise Unauthorized("this is not GATEWAY_OPS_TOKEN")
        response = web.Response(status=204, headers={"Cache-Control": "no-store"})
        response.set_cookie(
            COOKIE,
            self._cookie(clock.now().wall + SESSION_SECONDS * 1000).decode(),
            max_age=SESSION_SECONDS,
            path=_PATH,
            secure=request.secure,
            httponly=True,
            samesite="Strict",
        )
        return response

    async def _sign_out(self, _: web.Request) -> web.Response:
        response = web.Response(status=204)
        response.del_cookie(COOKIE, path=_PATH)
        return response

    def _cookie(self, end: int) -> bytes:
        proof = hmac.digest(self._token().encode(), b"session %d" % end, "sha256")
        return f"{end}.{proof.hex()}".encode()
