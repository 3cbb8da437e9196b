"""Accepts the connections of a listening socket, a few in each turn of the event loop.

The kernel holds a connection until its client has sent something (`TCP_DEFER_ACCEPT`), or has not
for a second; and accepted sockets have the options of the one that listens.
"""

from __future__ import annotations

import asyncio
import errno
import math
import resource
import socket
import sys
from typing import TYPE_CHECKING, cast

import structlog
from aiohttp import web

from gateway.http.transport.connection import bound
from gateway.http.transport.handover import Arrival
from gateway.http.transport.new_connections import NewConnections
from gateway.http.transport.socket_transport import READ_BYTES
from gateway.settings.setting_types import url_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from ssl import SSLContext

    from gateway.http.transport.new_connections import Opener

ACCEPTED_PER_TURN = 16
"""Connections accepted in one turn of the loop; the opener bounds the streams among them."""

DEFER_SECONDS = 1
"""How long the kernel waits for a client's first bytes before the connection is taken without."""

GATHER_SECONDS = 0.002
"""Pause of accepting between two turns while clients arrive faster than that; a wake for each of
1,800 clients a second is a tenth of an opening."""

FULL_SECONDS = 1.0
"""How long accepting pauses when the process is out of file descriptors."""

FULL_LOG_SECONDS = 60.0
"""The least between two log lines about that."""

RESERVED_FILES = 64
"""File descriptors that the public listener leaves to Kafka, operations and files; an eighth of the
limit where that is less. The kernel gives out the lowest free number, so the number of an accepted
socket shows how many are in use."""

_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_log = structlog.stdlib.get_logger(__name__)


class Acceptor(web.BaseSite):
    """Accepts the connections of one listening socket: a site of aiohttp's `runner`.

    Without `opener` every connection is passed on to aiohttp. With it accepting stops short of the
    process's limit of open files, so that connections never cost Kafka or operations theirs. The
    runner closes the site on cleanup; call `cut_off` after that.
    """

    def __init__(
        self,
        runner: web.BaseRunner,
        listening: socket.socket,
        opener: Opener | None,
        context: SSLContext | None = None,
    ) -> None:
        super().__init__(runner, ssl_context=context)
        assert runner.server is not None
        self.sockets = (listening,)
        self._listening = listening
        self._opener = opener
        self._new = NewConnections(opener, runner.server, context)
        self._loop = asyncio.get_running_loop()
        self._again: asyncio.TimerHandle | None = None
        self._quiet_until = 0.0
        self._gather_until = 0.0

    @property
    def name(self) -> str:
        """The URL of the listening socket."""
        scheme = "http" if self._ssl_context is None else "https"
        return url_of(scheme, *self._listening.getsockname()[:2])

    async def start(self) -> None:
        """Begin to accept connections."""
        await super().start()
        self._server = cast("asyncio.AbstractServer", self)  # as far as a site needs one
        # Accepted sockets inherit these options.
        if self._opener is not None:
            bound(self._listening, self._opener.patience)
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sys.platform == "linux":
            self._listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFER_SECONDS)
        self._listening.setblocking(False)
        self._resume()

    def close(self) -> None:
        """Stop listening; streams and accepted connections stay."""
        self._loop.remove_reader(self._listening)
        self._listening.close()
        if self._again is not None:
            self._again.cancel()

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
        self._new.serve(own, settled=True)

    def cut_off(self) -> None:
        """Abort the connections that belong to neither an open stream nor aiohttp."""
        self._new.cut_off()

    def _resume(self) -> None:
        self._again = None
        self._loop.add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        """Accept a few connections; the others stay in the kernel until the next turn."""
        if self._opener is not None and self._ssl_context is None:
            self._sort(self._opener)
            return
        for sock, _ in self._accepted():
            self._new.pass_on(sock)

    def _sort(self, opener: Opener) -> None:
        """Hand accepted connections to the workers of their users; open the own streams."""
        own: list[Arrival] = []
        elsewhere: dict[int, list[Arrival]] = {}
        try:
            for sock, peername in self._accepted():
                if (data := self._read(sock)) is None:
                    continue
                arrival = Arrival(sock, peername, data)
                slot = opener.destination(data) if data.startswith(self._new.begin) else None
                if slot is not None:
                    elsewhere.setdefault(slot, []).append(arrival)
                    continue
                own.append(arrival)
                if not opener.quota.has_room(len(own)):
                    break
        finally:  # also at a defect, which costs one connection
            for slot, arrivals in elsewhere.items():
                for staying in opener.hand_over(slot, arrivals):
                    if opener.quota.has_room(len(own)):
                        own.append(staying)
                    else:
                        self._new.pass_on(staying.sock, staying.data)
            self._new.serve(own)

    def _accepted(self) -> Iterator[tuple[socket.socket, object]]:
        """Yield accepted connections with the addresses of their peers."""
        ceiling = math.inf if self._opener is None else files_for_clients()
        for accepted in range(ACCEPTED_PER_TURN):
            if self._opener is not None and not self._opener.quota.has_room():
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

    def _gather(self, accepted: int) -> None:
        """Pause for a moment if clients arrive in quick succession."""
        now = self._loop.time()
        if accepted > 1 or now < self._gather_until:
            self._pause(GATHER_SECONDS)
        self._gather_until = now + GATHER_SECONDS

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


def files_for_clients() -> float:
    """Return the number of file descriptors up to which clients are accepted."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if limit < 0 else limit - min(RESERVED_FILES, limit // 8)
