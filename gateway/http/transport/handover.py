"""Hands accepted connections to the worker process that reads their partition, by SCM_RIGHTS.

All workers of a machine accept from the same listening sockets. A connection goes to the worker of
its user together with the bytes that were read from it, before anything was answered: the client
notices nothing and needs no second connection. Each slot has one socket pair, which the supervisor
keeps open, so a connection that is handed to a worker that dies waits there for its successor.

The destination of a connection affects nothing else: each worker can serve each user. A connection
stays where it is if the slot has no accepting worker, or the kernel queue is full, and a connection
that was handed over is never handed over again.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_BYTES = 65_536
"""Largest part of a request that is handed over: one read from a socket."""

TAKEN_AT_ONCE = 16
"""Connections received in one turn of the loop, as many as are accepted."""


class Handover:
    """Sends and receives connections for the worker in slot `own`.

    `sending` has one socket for each slot; `owner` returns the slot of a user, or None while the
    partitions are not known; `sent` is called for each connection that was handed over.
    """

    def __init__(
        self,
        own: int,
        sending: Sequence[socket.socket],
        receiving: socket.socket,
        owner: Callable[[bytes], int | None],
        sent: Callable[[], None],
    ) -> None:
        self._own = own
        self._sending = sending
        self._receiving = receiving
        self._owner = owner
        self._receive: Callable[[socket.socket, object, bytes], None] | None = None
        self.up: frozenset[int] = frozenset()
        """The slots whose workers accept connections."""
        self._sent = sent
        receiving.setblocking(False)
        for sock in sending:
            sock.setblocking(False)

    def send(self, user: bytes, sock: socket.socket, data: bytes) -> bool:
        """Return whether a connection went to the slot of its user; then close this copy of it.

        `data` was read from it. False: serve it here.
        """
        slot = self._owner(user)
        if slot is None or slot == self._own or slot not in self.up or len(data) > MAX_BYTES:
            return False
        try:
            socket.send_fds(self._sending[slot], [data], [sock.fileno()])
        except OSError:  # its queue is full, or too many descriptors are on their way
            return False
        self._sent()
        return True

    def start(self, receive: Callable[[socket.socket, object, bytes], None]) -> None:
        """Pass each received connection to `receive`: socket, address of the peer, first bytes."""
        self._receive = receive
        asyncio.get_running_loop().add_reader(self._receiving, self._receive_sockets)

    def stop(self) -> None:
        """Leave further connections to the successor in this slot."""
        asyncio.get_running_loop().remove_reader(self._receiving)

    def _receive_sockets(self) -> None:
        assert self._receive is not None
        for _ in range(TAKEN_AT_ONCE):
            try:
                data, descriptors, _, _ = socket.recv_fds(self._receiving, MAX_BYTES, 1)
            except (BlockingIOError, InterruptedError):
                return
            for descriptor in descriptors:
                sock = socket.socket(fileno=descriptor)
                sock.setblocking(False)
                try:
                    peer = sock.getpeername()
                except OSError:  # the client has gone
                    sock.close()
                    continue
                self._receive(sock, peer, data)
