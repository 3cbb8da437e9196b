"""The handler of one connection: aiohttp's, with three changes.

A client may close its sending side behind its request (`printf … | nc -N`) and still gets its
answer (RFC 9112, §9.6). And a defect in one request costs that request: the answer is a 500 with
problem details like every other error. Bodies of requests are not decompressed: no request needs
one, and 1 MB without a token held the event loop for seconds.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp.web_protocol import RequestHandler

from gateway.errors import InternalError
from gateway.http.caller import CALLER
from gateway.http.problem import problem

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.web_request import BaseRequest
    from aiohttp.web_response import StreamResponse


class HttpHandler(RequestHandler):
    """Serves the requests of one connection."""

    __slots__ = ("half_closed", "settled")

    def __init__(self, server: web.Server, *, settled: bool = False) -> None:
        options = {**server._kwargs, "auto_decompress": False}  # noqa: SLF001 - of the runner
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self.half_closed = False
        """Whether the client has closed its sending side."""
        self.settled = settled
        """Whether another worker process has handed the connection over to this one."""

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
        caller = request.get(CALLER)
        if status != InternalError.status or caller is None:
            return answer
        answer = problem(
            InternalError("the gateway failed; quote the request id"), caller.request_id
        )
        answer.force_close()
        return answer
