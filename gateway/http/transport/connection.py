"""A stream's connection: the socket, once its request has been read.

The acceptor gives it a `SocketTransport`, or it is taken over from aiohttp
(`asyncio.Transport.set_protocol`), because a stream needs neither a request nor a handler task for
the hours it lives. Only this object and its transport remain: bytes go out by `write`, and the
transport tells when it is full, when it has drained, and when the client has gone.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from aiohttp import web

from gateway import clock
from gateway.core import frame
from gateway.http.transport.http_handler import HttpHandler

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.web_request import BaseRequest

    from gateway.core.hub import Hub
    from gateway.core.stream import Stream
    from gateway.http.caller import Caller

FLUSH_SECONDS = 5.0
"""How long a stream that was ended may take to read its goodbye before the connection is cut."""

HIGH_WATER = 65_536
"""Bytes that a transport may hold until its stream is stuck: asyncio's own mark, which with TLS
would be eight times that."""

SEND_BUFFER = 65_536
"""What the kernel may hold of one stream, for which it reserves twice as much; on its own it goes
up to 4 MiB for a client that does not read (`net.ipv4.tcp_wmem`)."""

_TCP_INFO = struct.Struct("=2xB21xI")
"""The beginning of Linux's `tcp_info`: `tcpi_retransmits` and `tcpi_unacked`."""

_BYTES_ACKED = struct.Struct("=120xQ")
"""`tcpi_bytes_acked`, which it has since Linux 4.2."""


def bound(sock: socket.socket, patience: float) -> None:
    """Bound what the kernel keeps for a client, and for how many seconds (RFC 5482)."""
    with suppress(OSError):  # the client has gone
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        if sys.platform == "linux":
            milliseconds = int(patience * 1000)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)


class Connection(asyncio.Protocol):
    """The sink of one stream.

    `head` is the response up to its body. `chunked` is the framing of HTTP/1.1; without it the end
    of the connection is the end of the response (RFC 9112, §6.3). A client that takes nothing for
    `patience` seconds, or cannot be reached, is dead.
    """

    __slots__ = (
        "_cut",
        "_head",
        "_hub",
        "_patience",
        "_stream",
        "_transport",
        "caller",
        "chunked",
        "written",
    )

    def __init__(
        self, hub: Hub, head: bytes, caller: Caller, *, chunked: bool, patience: float
    ) -> None:
        self._hub = hub
        self._head = head
        self.caller = caller
        self.written = 0
        """Bytes handed to the transport, head and framing included."""
        self.chunked = chunked
        self._patience = patience
        self._stream: Stream | None = None
        self._transport: asyncio.Transport | None = None
        self._cut: asyncio.TimerHandle | None = None

    def take_over(self, request: web.Request) -> bool:
        """Take the request's connection from aiohttp; False: its client has gone already.

        A client that has closed its sending side gets the head and the first bytes, then the end:
        most such clients have gone, and the socket would not tell before the next write.
        """
        transport = request.transport
        if transport is None or transport.is_closing():
            return False
        former = request.protocol
        self.attach(transport)
        # To aiohttp this connection is lost, and without its transport it cannot close it.
        former.transport = None
        former.connection_lost(None)
        bound(transport.get_extra_info("socket"), self._patience)
        transport.resume_reading()
        if isinstance(former, HttpHandler) and former.half_closed:
            asyncio.get_running_loop().call_soon(transport.close)
        return True

    def attach(self, transport: asyncio.Transport) -> None:
        """Write to this transport, and hear from it."""
        self._transport = transport
        transport.set_protocol(self)
        transport.set_write_buffer_limits(HIGH_WATER)

    # The sink.

    def bind(self, stream: Stream) -> None:
        """Report to the hub on behalf of this stream from now on."""
        self._stream = stream

    def write(self, data: bytes) -> None:
        """Hand bytes to the transport; the first ones behind the response's head."""
        transport = self._transport
        # asyncio logs each further write to a connection that has broken: clients could fill a log.
        if transport is None or transport.is_closing():
            return
        if self._head:
            data, self._head = self._head + data, b""
        self.written += len(data)
        transport.write(data)

    def close(self) -> None:
        """Send what was written, then end the response and the connection."""
        transport = self._transport
        if transport is None:
            return
        if self.chunked:
            self.written += len(frame.LAST_CHUNK)
            transport.write(frame.LAST_CHUNK)
        transport.close()
        self._cut = asyncio.get_running_loop().call_later(FLUSH_SECONDS, transport.abort)

    @property
    def peer(self) -> str:
        """The address that is connected, which may be a proxy's; empty: it has gone."""
        peer = None if self._transport is None else self._transport.get_extra_info("peername")
        return str(peer[0]) if peer else ""

    @property
    def waiting_bytes(self) -> int:
        """What was written and the kernel has not taken."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    @property
    def acknowledged_bytes(self) -> int | None:
        """What the client's kernel has confirmed on this connection, TLS and all.

        The kernel keeps the count. None on other systems than Linux.
        """
        if self._transport is None or sys.platform != "linux":
            return None
        sock: socket.socket = self._transport.get_extra_info("socket")
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
        return int(_BYTES_ACKED.unpack(info)[0]) if len(info) == _BYTES_ACKED.size else None

    def unanswered(self) -> bool:
        """Whether the kernel has repeated what was sent, more than once and to no answer."""
        if self._transport is None or sys.platform != "linux":
            return False
        sock: socket.socket = self._transport.get_extra_info("socket")
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        repeated, unacknowledged = _TCP_INFO.unpack(info)
        return bool(repeated > 1 and unacknowledged)

    # What the transport calls.

    def data_received(self, data: bytes) -> None:
        """Ignore what a client sends behind its request: nothing is expected."""

    def eof_received(self) -> bool:
        """Take a half-closed connection for a client that has gone."""
        return False

    def pause_writing(self) -> None:
        """Stop: the client does not keep up."""
        if self._stream is not None:
            self._hub.stuck(self._stream, clock.now())

    def resume_writing(self) -> None:
        """Resume: the client has read."""
        if self._stream is not None:
            self._hub.drained(self._stream, clock.now())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget the client."""
        self._transport = None
        if self._cut is not None:
            self._cut.cancel()
        if self._stream is not None:
            self._hub.lost(self._stream, clock.now())


class TakenOver(web.StreamResponse):
    """What a handler returns for a connection that is no longer aiohttp's: nothing to send."""

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:  # noqa: ARG002
        """Send no head; the connection has sent its own."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """End nothing."""
