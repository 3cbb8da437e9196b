"""The handler of one connection: aiohttp's, with three changes.

1. A client may close its sending side after its request (`printf … | nc -N`) and still gets the
   response (RFC 9112, §9.6).
2. A defect costs the request that meets it: the response is a 500 with problem details.
3. Bodies are not decompressed, and are parsed up to a limit only. 1 MB without a token, compressed
   or in chunks of a byte, blocked the event loop for seconds.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import hdrs
from aiohttp.web_protocol import RequestHandler

from gateway.errors import InternalError
from gateway.http.caller import CALLER
from gateway.http.problem import problem

if TYPE_CHECKING:
    from aiohttp import StreamReader, web
    from aiohttp.web_request import BaseRequest
    from aiohttp.web_response import StreamResponse

PIECE_BYTES = 1024
"""Bytes that are parsed at a time: 200 chunks of a byte, about 1 ms."""

MAX_BODY_BYTES = 8192
"""The rest of a larger body is dropped unparsed. No operation takes more than 4 KiB."""

LINGER_SECONDS = 2.0
"""How long a client may continue to send a body after the response."""


class HttpHandler(RequestHandler):
    """Serves the requests of one connection."""

    __slots__ = ("_last", "_unparsed", "half_closed", "settled")

    def __init__(self, server: web.Server, *, settled: bool = False) -> None:
        options = {
            **server._kwargs,  # noqa: SLF001 - the options of the runner
            "auto_decompress": False,
            "lingering_time": LINGER_SECONDS,
        }
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self.half_closed = False
        """Whether the client has closed its sending side."""
        self.settled = settled
        """Whether another worker process has handed the connection over to this one."""

        self._last: tuple[object, StreamReader] | None = None
        """The request that was parsed last, and its body."""
        self._unparsed = MAX_BODY_BYTES
        """Bytes of its body that may still be parsed; 0: no byte of the connection any more."""

    def data_received(self, data: bytes) -> None:
        """Parse requests; drop what exceeds the body of one, and all that follows."""
        for begin in range(0, len(data) or 1, PIECE_BYTES):
            if not self._unparsed:
                return
            piece = data[begin : begin + PIECE_BYTES]
            super().data_received(piece)
            if self._messages:
                self._last = self._messages[-1]
            self._unparsed = self._left(len(piece))

    def _left(self, parsed: int) -> int:
        if self._last is None or self._last[1].is_eof():
            return MAX_BODY_BYTES
        # A chunk costs a hundred times more than a byte does.
        return 0 if getattr(self._last[0], "chunked", False) else max(0, self._unparsed - parsed)

    def eof_received(self) -> bool:  # type: ignore[override]  # aiohttp's returns None
        """Keep the connection until pending requests are answered; False closes it at once."""
        self.half_closed = True
        idle = self._waiter is not None and not self._waiter.done() and not self._messages
        transport = self.transport
        if idle or transport is None or transport.get_extra_info("sslcontext") is not None:
            return False  # asyncio does not support half-closed TLS connections
        self.close()
        return True

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> StreamResponse:
        """Return the answer to a request that failed; raise if an answer has begun."""
        answer: StreamResponse = super().handle_error(request, status, exc, message)
        answer.headers[hdrs.SERVER] = "gateway"  # aiohttp would name its version and Python's
        caller = request.get(CALLER)
        if status != InternalError.status or caller is None:
            return answer
        answer = problem(
            InternalError("the gateway failed; quote the request id"), caller.request_id
        )
        answer.force_close()
        return answer
