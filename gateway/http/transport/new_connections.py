"""Opens streams on new connections, and passes all other connections to aiohttp.

Most clients ask for a stream with a valid token in one packet, and the stream can open without
waiting. aiohttp would spend two tasks, a timer and its response objects on such a request. Here the
request is parsed with aiohttp's parser and limits, and the stream opens in the same turn of the
loop. aiohttp gets every other connection with all bytes received: other requests, partial heads,
requests that wait, and rejected ones. One set of checks serves both ways in. With TLS the same is
done after the handshake, which asyncio makes (`handshakes.py`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, cast

from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpRequestParser
from aiohttp.streams import EMPTY_PAYLOAD

from gateway.http.transport.entrance import Entrance, TlsEntrance, TlsEntrances
from gateway.http.transport.handshakes import Handshakes
from gateway.http.transport.http_handler import HttpHandler
from gateway.http.transport.poller import poller
from gateway.http.transport.socket_transport import READ_BYTES, SocketTransport

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable
    from ssl import SSLContext

    from gateway.http.transport.handover import Arrival
    from gateway.http.transport.opening_quota import OpeningQuota

MAX_LINE_BYTES = 16_384
"""Of a request's first line and of each header: an id that is far too long is answered by a gap."""

MAX_HEADERS = 64
"""So a request's head has a megabyte at most; browsers send some twenty."""


class Opener(Protocol):
    """Opens streams: the endpoint of the public listener."""

    path: str
    """The path of the endpoint."""
    patience: float
    """Seconds after which the kernel drops a client that acknowledges nothing."""
    quota: OpeningQuota
    """Bounds the streams that open in a turn of the loop; received connections do not count."""

    def destination(self, data: bytes) -> int | None:
        """Return the slot of the worker process that a request belongs to; None: this one."""

    def hand_over(self, slot: int, arrivals: Iterable[Arrival]) -> list[Arrival]:
        """Hand connections to the worker process of a slot; return the unsent ones."""

    def open_at_once(self, request: web.Request, wire: asyncio.Transport) -> bool:
        """Open a stream if no check fails; False: nothing was done."""


class _Caller(BaseProtocol):
    """The part of aiohttp's handler that a request needs before a handler exists."""

    __slots__ = ("peername", "ssl_context")
    sockname = None

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wire: asyncio.Transport,
        peername: object,
        ssl_context: SSLContext | None,
    ) -> None:
        super().__init__(loop)
        self.transport = wire
        self.peername = peername
        self.ssl_context = ssl_context


class NewConnections:
    """Opens the streams of new connections by `opener`, and passes others to aiohttp's `server`."""

    def __init__(
        self, opener: Opener | None, server: web.Server, context: SSLContext | None
    ) -> None:
        self._opener = opener
        self._server = server
        self._context = context
        self.begin = b"" if opener is None else f"GET {opener.path}".encode()
        """The first bytes of a request for a stream."""
        self._loop = asyncio.get_running_loop()
        self._passing: set[asyncio.Task[object]] = set()
        self._poller = poller(self._loop)
        self._handshakes = Handshakes()
        self._entrances: TlsEntrances | None = None
        if opener is not None:
            self._entrances = TlsEntrances(server, opener.quota, self._open_behind_tls)

    def serve(self, arrivals: Iterable[Arrival], *, settled: bool = False) -> None:
        """Open streams; aiohttp gets the connections for which none opens, also at a defect.

        `settled`: another worker process has handed the connections over to this one.
        """
        left = deque(arrivals)
        try:
            while left:
                self._serve(left.popleft(), settled=settled)
        finally:
            for arrival in left:
                self.pass_on(arrival.sock, arrival.data, settled=settled)

    def pass_on(self, sock: socket.socket, data: bytes = b"", *, settled: bool = False) -> None:
        """Pass a connection to aiohttp, with the bytes received from its client."""
        task = self._loop.create_task(self._pass_on(sock, data, settled=settled))
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)

    def cut_off(self) -> None:
        """Abort connections on their way to aiohttp, and ended streams with unread data."""
        for task in self._passing:
            task.cancel()
        if self._entrances is not None:
            self._entrances.close()
        for wire in self._poller.parting:
            wire.abort()
        self._poller.close()

    def _serve(self, arrival: Arrival, *, settled: bool) -> None:
        assert self._opener is not None
        sock, peername, data = arrival
        if not settled:  # the sender and the receiver of a connection bound their number
            self._opener.quota.use()
        wire = SocketTransport(self._loop, sock, peername, self._poller)
        opened = False
        try:
            opened = self._is_one_head(data) and self._open(wire, peername, data)
        finally:  # also at a defect, which is aiohttp's to answer
            if not opened and wire.is_watched:
                wire.abort()
            elif not opened:
                self.pass_on(sock, data, settled=settled)

    def _is_one_head(self, data: bytes) -> bool:
        """Return whether a request for a stream may be all of it, up to the end of its head."""
        return data.startswith(self.begin) and data.find(b"\r\n\r\n") == len(data) - 4

    def _open(self, wire: asyncio.Transport, peername: object, data: bytes) -> bool:
        assert self._opener is not None
        caller = _Caller(self._loop, wire, peername, self._context)
        parser = HttpRequestParser(
            caller,
            self._loop,
            READ_BYTES,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            max_headers=MAX_HEADERS,
        )
        try:
            messages, upgraded, _ = parser.feed_data(data)
        except HttpProcessingError:
            return False
        if len(messages) != 1 or upgraded:
            return False
        message, payload = messages[0]
        if (
            message.method != "GET"
            or message.url.raw_path != self._opener.path
            or payload is not EMPTY_PAYLOAD
            or "Expect" in message.headers
        ):
            return False
        handler, none = cast("HttpHandler", caller), cast("Any", None)
        request = web.Request(message, payload, handler, none, none, self._loop)
        return self._opener.open_at_once(request, wire)

    def _open_behind_tls(self, transport: asyncio.Transport, data: bytes) -> bool:
        """Open a stream with the first bytes of a TLS connection; False: nothing was done."""
        assert self._opener is not None
        self._opener.quota.use()
        return self._is_one_head(data) and self._open(
            transport, transport.get_extra_info("peername"), data
        )

    async def _pass_on(self, sock: socket.socket, data: bytes, *, settled: bool) -> None:
        with suppress(OSError):  # the client has gone, or speaks no TLS
            if self._context is not None:
                assert self._entrances is not None
                await self._handshakes.make(sock, TlsEntrance(self._entrances), self._context)
                return
            entrance = Entrance(HttpHandler(self._server, settled=settled), data)
            await self._loop.connect_accepted_socket(lambda: entrance, sock)
