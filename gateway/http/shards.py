"""Shards: a request without the right `shard` in its query is sent to the same URL with it.

A load balancer hashes that one parameter, so that all users of a partition meet at one worker,
which then reads only its own partitions. The parameter decides nothing else: whichever worker gets
a request that names the right shard serves it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_plus

from aiohttp import web

if TYPE_CHECKING:
    from gateway.parts import Parts

PARAMETER = "shard"

_HERE = "events"
"""The end of the path: without it, Java resolves to the folder above (RFC 2396)."""

_AS_IT_CAME = "!$%&'()*+,/:;=?@"
"""Characters of a query besides letters, digits and `-._~` (RFC 3986, §3.4).

All others are returned percent-encoded, so that they are harmless in a header."""


class Shards:
    """Redirects requests whose `shard` is wrong."""

    def __init__(self, parts: Parts) -> None:
        self._kafka = parts.kafka
        self._metrics = parts.metrics

    def is_here(self, request: web.Request, user: bytes) -> bool:
        """Return whether the request names the right shard, as far as this worker knows."""
        return request.query.get(PARAMETER) == self._kafka.shard(user)

    async def elsewhere(self, request: web.Request, user: bytes) -> web.Response | None:
        """Return the redirect to the right shard, or None if the request names it."""
        given = request.query.get(PARAMETER, "")
        shard = self._kafka.shard(user)
        if given not in ("", shard):
            shard = await self._kafka.agreed_shard(user, given)
        if given == shard:
            return None
        self._metrics.redirected()
        # 307 keeps the method, and a browser keeps `Last-Event-ID`. The reference omits the host
        # and all of the path but its end (RFC 3986, §4.2): the client stays on the same host and
        # path, also behind a proxy that removes a prefix. If the query holds a token, the
        # reference does too and must not be cached.
        headers = {"Location": location(request.raw_path, shard), "Cache-Control": "no-store"}
        text = f"Your stream is at the same URL with {PARAMETER}={shard}.\n"
        return web.Response(status=307, headers=headers, text=text)


def location(raw_path: str, shard: str) -> str:
    """Return a reference to the same URL; only `shard` in the query changes.

    The shard is the first parameter: a balancer uses the first one that it finds.
    """
    query = raw_path.partition("#")[0].partition("?")[2]
    kept = [
        part
        for part in query.split("&")
        if part and unquote_plus(part.partition("=")[0]) != PARAMETER
    ]
    text = "&".join([f"{PARAMETER}={shard}", *kept])
    return f"{_HERE}?" + quote(text, safe=_AS_IT_CAME, errors="surrogateescape")
