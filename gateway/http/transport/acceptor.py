"""Accepts connections, opens streams at once, and passes all other requests to aiohttp.

Most clients ask for a stream with a valid token in one packet, and the stream can open without
waiting. aiohttp would spend two tasks, a timer and its response objects on such a request. The
acceptor parses the request with aiohttp's parser and limits and opens the stream in the same turn
of the loop. aiohttp gets every other connection with all bytes received: other requests, partial
heads, requests that wait, and rejected ones. One set of checks serves both ways in. With TLS the
same is done after the handshake, which asyncio makes (`handshakes.py`).

The kernel holds a connection until its client has sent something (`TCP_DEFER_ACCEPT`), or has not
for a second; and accepted sockets have the options of the one that listens.
"""

from __future__ import annotations

import asyncio
import errno
import math
import socket
import sys
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, cast

import structlog
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpRequestParser
from aiohttp.streams import EMPTY_PAYLOAD

from gateway.http.transport.entrance import Entrance, TlsEntrance, TlsEntrances
from gateway.http.transport.handover import Arrival
from gateway.http.transport.handshakes import Handshakes
from gateway.http.transport.http_handler import HttpHandler
from gateway.http.transport.open_files import files_for_clients
from gateway.http.transport.poller import poller
from gateway.http.transport.socket_transport import READ_BYTES, SocketTransport

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from ssl import SSLContext

ACCEPTED_PER_TURN = 16
"""Connections accepted in one turn of the loop; the opener bounds the streams among them."""

MAX_LINE_BYTES = 16_384
"""Of a request's first line and of each header: an id that is far too long is answered by a gap."""

MAX_HEADERS = 64
"""So a request's head has a megabyte at most; browsers send some twenty."""

DEFER_SECONDS = 1
"""How long the kernel waits for a client's first bytes before the connection is taken without."""

GATHER_SECONDS = 0.002
"""Pause of accepting between two turns while clients arrive faster than that; a wake for each of
1,800 clients a second is a tenth of an opening."""

FULL_SECONDS = 1.0
"""How long accepting pauses when the process is out of file descriptors."""

FULL_LOG_SECONDS = 60.0
"""The least between two log lines about that."""

_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_log = structlog.stdlib.get_logger(__name__)


class Opener(Protocol):
    """Opens streams: the endpoint of the public listener."""

    @property
    def path(self) -> str:
        """The path of the endpoint."""

    def bound(self, sock: socket.socket) -> None:
        """Give a socket the options that those of streams have."""

    def destination(self, data: bytes) -> int | None:
        """Return the slot of the worker process that a request belongs to; None: this one."""

    def hand_over(self, slot: int, arrivals: Iterable[Arrival]) -> list[Arrival]:
        """Hand connections to the worker process of a slot; return the unsent ones."""

    def may_open(self, more: int = 0) -> bool:
        """Return whether another stream may open in this turn of the loop, after `more` others."""

    def count(self) -> None:
        """Count an opening of this turn; those of received connections do not count."""

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


class Acceptor:
    """Accepts the connections of one listening socket; `server` is aiohttp's.

    Without `opener` every connection is passed on to aiohttp. With it accepting stops short of the
    process's limit of open files, so that connections never cost Kafka or operations theirs.
    """

    def __init__(
        self,
        listening: socket.socket,
        opener: Opener | None,
        server: web.Server,
        defer: int,
        context: SSLContext | None = None,
    ) -> None:
        self.sockets = (listening,)
        self._listening = listening
        self._opener = opener
        self._server = server
        self._context = context
        self._begin = b"" if opener is None else f"GET {opener.path}".encode()
        self._loop = asyncio.get_running_loop()
        self._passing: set[asyncio.Task[object]] = set()
        self._entrances = TlsEntrances(server, self)
        self._handshakes = Handshakes()
        self._poller = poller(self._loop)
        self._again: asyncio.TimerHandle | None = None
        self._quiet_until = 0.0
        self._gather_until = 0.0
        # What is accepted inherits these.
        if opener is not None:
            opener.bound(listening)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sys.platform == "linux":
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, defer)
        listening.setblocking(False)
        self._resume()

    def close(self) -> None:
        """Stop listening; streams and accepted connections stay."""
        self._loop.remove_reader(self._listening)
        self._listening.close()
        if self._again is not None:
            self._again.cancel()

    def cut_off(self) -> None:
        """Abort connections on their way to aiohttp, and ended streams with unread data."""
        for task in self._passing:
            task.cancel()
        self._entrances.close()
        for wire in self._poller.parting:
            wire.abort()
        self._poller.close()

    def _resume(self) -> None:
        self._again = None
        self._loop.add_reader(self._listening, self._accept)

    def _gather(self, accepted: int) -> None:
        """Pause for a moment if clients arrive in quick succession."""
        now = self._loop.time()
        if accepted > 1 or now < self._gather_until:
            self._pause(GATHER_SECONDS)
        self._gather_until = now + GATHER_SECONDS

    def _accept(self) -> None:
        """Accept a few connections; the others stay in the kernel until the next turn."""
        if self._opener is not None and self._context is None:
            self._sort(self._opener)
            return
        for sock, _ in self._accepted():
            self._hand_over(sock, b"")

    def _sort(self, opener: Opener) -> None:
        """Hand accepted connections to the workers of their users; open the own streams."""
        own: list[Arrival] = []
        elsewhere: dict[int, list[Arrival]] = {}
        try:
            for sock, peername in self._accepted():
                if (data := self._read(sock)) is None:
                    continue
                arrival = Arrival(sock, peername, data)
                slot = opener.destination(data) if data.startswith(self._begin) else None
                if slot is not None:
                    elsewhere.setdefault(slot, []).append(arrival)
                    continue
                own.append(arrival)
                if not opener.may_open(len(own)):
                    break
        finally:  # also at a defect, which costs one connection
            for slot, arrivals in elsewhere.items():
                for staying in opener.hand_over(slot, arrivals):
                    if opener.may_open(len(own)):
                        own.append(staying)
                    else:
                        self._hand_over(staying.sock, staying.data)
            self._begin_all(own)

    def _accepted(self) -> Iterator[tuple[socket.socket, object]]:
        """Yield accepted connections with the addresses of their peers."""
        ceiling = math.inf if self._opener is None else files_for_clients()
        for accepted in range(ACCEPTED_PER_TURN):
            if self._opener is not None and not self._opener.may_open():
                return
            try:
                sock, peername = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                self._gather(accepted)
                return
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                self._pause_full(error.strerror or str(error))
                return
            if sock.fileno() >= ceiling:
                sock.close()
                self._pause_full("few file descriptors are left")
                return
            sock.setblocking(False)
            yield sock, peername

    def _pause(self, seconds: float) -> None:
        """Pause accepting; streams and requests in progress continue."""
        self._loop.remove_reader(self._listening)
        self._again = self._loop.call_later(seconds, self._resume)

    def _pause_full(self, cause: str) -> None:
        self._pause(FULL_SECONDS)
        self._warn("accept paused: out of file descriptors; raise ulimit -n", cause=cause)

    def _warn(self, event: str, **fields: str) -> None:
        now = self._loop.time()
        if now >= self._quiet_until:
            self._quiet_until = now + FULL_LOG_SECONDS
            _log.warning(event, **fields)

    def _read(self, sock: socket.socket) -> bytes | None:
        """Return the first bytes of a connection, if any; None if it has ended and is closed."""
        try:
            data = sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return b""
        except OSError:
            data = b""
        if not data:
            sock.close()
            return None
        return data

    def receive(self, arrivals: Iterable[Arrival]) -> None:
        """Serve connections that other worker processes accepted."""
        ceiling = files_for_clients()
        own = []
        for arrival in arrivals:
            if arrival.sock.fileno() < ceiling:
                own.append(arrival)
            else:
                arrival.sock.close()
                self._warn(
                    "handed-over connections closed: out of file descriptors; raise ulimit -n"
                )
        self._begin_all(own, settled=True)

    def _begin_all(self, arrivals: Iterable[Arrival], *, settled: bool = False) -> None:
        """Open streams; aiohttp gets the connections for which none opens, also at a defect."""
        assert self._opener is not None
        left = deque(arrivals)
        try:
            while left:
                self._begin_with(self._opener, left.popleft(), settled=settled)
        finally:
            for arrival in left:
                self._hand_over(arrival.sock, arrival.data, settled=settled)

    def _begin_with(self, opener: Opener, arrival: Arrival, *, settled: bool) -> None:
        sock, peername, data = arrival
        if not settled:  # the sender and the receiver of a connection bound their number
            opener.count()
        wire = SocketTransport(self._loop, sock, peername, self._poller)
        opened = False
        try:
            opened = self._is_one_head(data) and self._open(opener, wire, peername, data)
        finally:  # also at a defect, which is aiohttp's to answer
            if not opened and wire.is_watched:
                wire.abort()
            elif not opened:
                self._hand_over(sock, data, settled=settled)

    def _is_one_head(self, data: bytes) -> bool:
        """Return whether a request for a stream may be all of it, up to the end of its head."""
        return data.startswith(self._begin) and data.find(b"\r\n\r\n") == len(data) - 4

    def _open(self, opener: Opener, wire: asyncio.Transport, peername: object, data: bytes) -> bool:
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
            or message.url.raw_path != opener.path
            or payload is not EMPTY_PAYLOAD
            or "Expect" in message.headers
        ):
            return False
        handler, none = cast("HttpHandler", caller), cast("Any", None)
        request = web.Request(message, payload, handler, none, none, self._loop)
        return opener.open_at_once(request, wire)

    def _hand_over(self, sock: socket.socket, data: bytes, *, settled: bool = False) -> None:
        task = self._loop.create_task(self._pass_on(sock, data, settled=settled))
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)

    async def _pass_on(self, sock: socket.socket, data: bytes, *, settled: bool) -> None:
        """Pass a connection to aiohttp, with the bytes received from its client."""
        with suppress(OSError):  # the client has gone, or speaks no TLS
            if self._context is not None:
                await self._handshakes.make(sock, TlsEntrance(self._entrances), self._context)
                return
            entrance = Entrance(HttpHandler(self._server, settled=settled), data)
            await self._loop.connect_accepted_socket(lambda: entrance, sock)

    def may_open(self) -> bool:
        """Return whether another stream may open in this turn of the event loop."""
        assert self._opener is not None
        return self._opener.may_open()

    def open_behind_tls(self, transport: asyncio.Transport, data: bytes) -> bool:
        """Open a stream with the first bytes of a TLS connection; False: nothing was done."""
        assert self._opener is not None
        self._opener.count()
        return self._is_one_head(data) and self._open(
            self._opener, transport, transport.get_extra_info("peername"), data
        )
