"""Hands accepted connections to the worker process that reads their partition, by SCM_RIGHTS.

All workers of a machine accept from the same listening sockets. A connection goes to the worker of
its user together with the bytes that were read from it, before anything was answered: the client
notices nothing and needs no second connection. Each slot has one socket pair, which the supervisor
keeps open, so a connection that is handed to a worker that dies waits there for its successor.

The destination of a connection affects nothing else: each worker can serve each user. A connection
stays where it is if the slot has no accepting worker, or the kernel queue is full, and a connection
that was handed over is never handed over again.

The connections that one turn of the event loop accepts for a slot share datagrams. A datagram has
their number, the lengths of their heads (32 bits each, in the byte order of the machine) and the
heads; their descriptors are ancillary data, in the same order.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from array import array
from typing import TYPE_CHECKING, NamedTuple

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

MAX_BYTES = 65_536
"""Bytes of all heads in a datagram; one read from a socket has as many at most."""

MOST = 8
"""Connections in a datagram."""

ENOUGH = 8
"""Connections received in one turn of the loop, after which no further datagram is received."""

_LENGTH = struct.Struct("=I")
_DATAGRAM_BYTES = _LENGTH.size * (1 + MOST) + MAX_BYTES
_ANCILLARY_BYTES = socket.CMSG_SPACE(MOST * array("i").itemsize)

_STREAM = socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0)

_log = structlog.stdlib.get_logger(__name__)


class Arrival(NamedTuple):
    """An accepted connection, the address of its peer, and the bytes that were read from it."""

    sock: socket.socket
    peername: object
    data: bytes


class Handover:
    """Sends and receives connections for the worker in slot `own`.

    `sending` has one socket for each slot; `owner` returns the slot of a user, or None while the
    partitions are not known; `sent` gets the number of connections after each handover.
    """

    def __init__(
        self,
        own: int,
        sending: Sequence[socket.socket],
        receiving: socket.socket,
        owner: Callable[[bytes], int | None],
        sent: Callable[[int], None],
    ) -> None:
        self._own = own
        self._sending = sending
        self._receiving = receiving
        self._owner = owner
        self._receive: Callable[[Sequence[Arrival]], None] | None = None
        self.up: frozenset[int] = frozenset()
        """The slots whose workers accept connections."""
        self._sent = sent
        receiving.setblocking(False)
        for sock in sending:
            sock.setblocking(False)

    def destination(self, user: bytes) -> int | None:
        """Return the slot that a user's connection is handed to; None: it is served here."""
        slot = self._owner(user)
        return None if slot == self._own or slot not in self.up else slot

    def hand_over(self, slot: int, arrivals: Iterable[Arrival]) -> list[Arrival]:
        """Send connections to a slot and close this process's copies; return the unsent ones."""
        staying: list[Arrival] = []
        for group in _groups(arrivals):
            if self.send(slot, group):
                for arrival in group:
                    arrival.sock.close()
            else:
                staying += group
        return staying

    def send(self, slot: int, group: Sequence[Arrival]) -> bool:
        """Send up to `MOST` connections in one datagram; return whether the slot has them."""
        heads = [arrival.data for arrival in group]
        lengths = [len(head) for head in heads]
        if sum(lengths) > MAX_BYTES:
            return False
        prefix = struct.pack(f"={1 + len(group)}I", len(group), *lengths)
        descriptors = array("i", [arrival.sock.fileno() for arrival in group])
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)
        try:
            self._sending[slot].sendmsg([prefix, *heads], [rights])
        except OSError:  # its queue is full, or too many descriptors are on their way
            return False
        self._sent(len(group))
        return True

    def start(self, receive: Callable[[Sequence[Arrival]], None]) -> None:
        """Pass received connections to `receive`."""
        self._receive = receive
        asyncio.get_running_loop().add_reader(self._receiving, self._receive_some)

    def stop(self) -> None:
        """Leave further connections to the successor in this slot."""
        asyncio.get_running_loop().remove_reader(self._receiving)

    def _receive_some(self) -> None:
        """Receive datagrams, one of each sibling at most, until there are `ENOUGH` connections."""
        assert self._receive is not None
        taken = 0
        for _ in self._sending[1:]:
            try:
                data, ancillary, _, _ = self._receiving.recvmsg(_DATAGRAM_BYTES, _ANCILLARY_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            arrivals = _arrivals(data, _descriptors(ancillary))
            self._receive(arrivals)
            taken += len(arrivals)
            if taken >= ENOUGH:
                return


def _groups(arrivals: Iterable[Arrival]) -> Iterator[list[Arrival]]:
    """Yield the connections that share a datagram."""
    group: list[Arrival] = []
    size = 0
    for arrival in arrivals:
        size += len(arrival.data)
        if group and (len(group) == MOST or size > MAX_BYTES):
            yield group
            group, size = [], len(arrival.data)
        group.append(arrival)
    if group:
        yield group


def _descriptors(ancillary: Iterable[tuple[int, int, bytes]]) -> array[int]:
    """Return the descriptors of a datagram, which this process now owns."""
    found = array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(content[: len(content) - len(content) % found.itemsize])
    return found


def _arrivals(data: bytes, descriptors: Sequence[int]) -> list[Arrival]:
    """Return the connections of a datagram; close those whose clients have gone.

    Without free descriptors the kernel keeps the first ones only and closes the others.
    """
    heads = _heads(data)
    missing = len(heads) - len(descriptors)
    if missing > 0:
        event = "handed-over connections lost: out of file descriptors; raise ulimit -n"
        _log.error(event, connections=missing)
    if missing < 0:
        _log.error("handover malformed; its connections are closed", connections=len(descriptors))
        for descriptor in descriptors:
            os.close(descriptor)
        return []
    arrivals = []
    for descriptor, head in zip(descriptors, heads, strict=False):
        try:
            # A descriptor of a non-blocking socket: no further call is needed to make it one.
            sock = socket.socket(-1, _STREAM, socket.IPPROTO_TCP, descriptor)
        except OSError:  # not a socket
            os.close(descriptor)
            continue
        try:
            arrivals.append(Arrival(sock, sock.getpeername(), head))
        except OSError:  # the client has gone
            sock.close()
    return arrivals


def _heads(data: bytes) -> list[bytes]:
    """Return the heads of a datagram; empty if it is malformed."""
    if len(data) < _LENGTH.size:
        return []
    (number,) = _LENGTH.unpack_from(data)
    begin = _LENGTH.size * (1 + number)
    if number > MOST or len(data) < begin:
        return []
    lengths = struct.unpack_from(f"={number}I", data, _LENGTH.size)
    if begin + sum(lengths) != len(data):
        return []
    heads = []
    for length in lengths:
        heads.append(data[begin : begin + length])
        begin += length
    return heads
