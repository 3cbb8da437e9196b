"""The bearer token that a request carries (RFC 6750, §2): header, cookie or query."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import TokenFault, Unauthorized
from gateway.http.auth.claims import CHALLENGE, refusal

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.config import Settings
    from gateway.http.origins import Origins


def token_of(request: web.Request, settings: Settings, origins: Origins) -> str:
    """Return the token that a request carries.

    A bearer token in the `Authorization` header comes first, then the cookie and the query
    parameter that the settings allow; an `Authorization` header of another scheme is for another
    server, such as a proxy, and is ignored. A cookie counts only in requests of the user's own
    doing: browsers send it along for every page. Raises `Unauthorized` without a token, and for a
    second `Authorization` header beside a bearer token.
    """
    headers = request.headers.getall("Authorization", [])
    for header in headers:
        scheme, _, token = header.partition(" ")
        if scheme.lower() == "bearer":
            if len(headers) > 1 or not token.strip(" "):
                raise refusal(TokenFault.MALFORMED, "two Authorization headers, or no token in one")
            return token.strip(" ")
    token, strange = "", False
    if settings.token_cookie is not None:
        token = _cookie(request, settings.token_cookie)
        if token and not origins.trust(request):
            token, strange = "", True
    if not token and settings.token_query:
        token = request.query.get("access_token", "")
    if not token:
        raise _demand("; a cookie is not accepted from another origin" if strange else "")
    return token


def _cookie(request: web.Request, name: str) -> str:
    """Return the first value of a cookie in all `Cookie` headers (RFC 6265, §5.4), else empty.

    HTTP/2 allows several headers (RFC 9113, §8.2.3), which proxies pass on as they are.
    """
    for header in request.headers.getall("Cookie", []):
        for pair in header.split(";"):
            found, _, value = pair.partition("=")
            if found.strip() == name and value.strip():
                return value.strip().strip('"')
    return ""


def _demand(more: str = "") -> Unauthorized:
    # Without a token the challenge carries no error code (RFC 6750, §3.1).
    fault = TokenFault.ORIGIN if more else TokenFault.MISSING
    detail = f"a bearer token is required{more}"
    return Unauthorized(detail, {"WWW-Authenticate": CHALLENGE}, fault)
