"""The head of a stream's response: status line and headers, as bytes."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web


class ResponseHead:
    """Makes heads. Keeps the line with the date, which is good for a second."""

    def __init__(self) -> None:
        self._second = 0
        self._date = ""

    def of(self, request: web.Request, headers: Mapping[str, str], *, chunked: bool) -> bytes:
        """Return the head of the answer to a request; `headers` are those of every answer."""
        # A cache would store the URL, and the token in it, as its key: `no-cache` alone permits
        # that (RFC 9111, §5.2.2.4; RFC 6750, §2.3).
        store = ", no-store" if "access_token" in request.query else ""
        more = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        transfer = "Transfer-Encoding: chunked\r\n" if chunked else ""
        return (
            "HTTP/1.1 200 OK\r\n"
            "Content-Type: text/event-stream\r\n"
            # A proxy that compresses or rewrites a stream holds bytes back (RFC 9111, §5.2.2.6).
            f"Cache-Control: no-cache{store}, no-transform\r\n"
            f"Connection: {'keep-alive' if chunked else 'close'}\r\n"
            "X-Accel-Buffering: no\r\n"  # to nginx what `Incremental` is to all (RFC 10036)
            "Incremental: ?1\r\n"
            f"{transfer}"
            f"Date: {self._now()}\r\n"
            f"{more}"
            "\r\n"
        ).encode()

    def _now(self) -> str:
        second = int(time.time())
        if second != self._second:
            self._second, self._date = second, formatdate(second, usegmt=True)
        return self._date
