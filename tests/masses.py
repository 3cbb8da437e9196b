"""Many clients of one process, each no more than a protocol: those of a storm, and silent ones."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.tokens import mint

RECEIVE_BUFFER = 4096
RESET = struct.pack("ii", 1, 0)

_ID = re.compile(rb"^id: (\S+)$", re.MULTILINE)


class Comer(asyncio.Protocol):
    """Asks for a stream of the user. It reads all that comes, or nothing while it is `silent`."""

    def __init__(self, user: str, *, silent: bool = False, last_id: str = "") -> None:
        self.user = user
        self.received = bytearray()
        self.ended = False
        self._silent = silent
        self._last_id = last_id
        self._transport: asyncio.Transport | None = None

    @property
    def status(self) -> int:
        """The status of the response; 0 until it has arrived."""
        words = bytes(self.received[:16]).split(b" ")
        return int(words[1]) if len(words) > 2 else 0

    @property
    def last_id(self) -> str:
        """The id of the last block that has come whole."""
        ids: list[bytes] = _ID.findall(self.received[: self.received.rfind(b"\n\n") + 1])
        return ids[-1].decode()

    def read(self) -> None:
        """Read from now on."""
        self._silent = False
        if self._transport is not None:
            self._transport.resume_reading()

    def abort(self) -> None:
        """Break the connection off."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        connected: socket.socket = transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        if self._silent:
            transport.pause_reading()
        resume = f"Last-Event-ID: {self._last_id}\r\n" if self._last_id else ""
        transport.write(
            f"GET /api/v1/events HTTP/1.1\r\nHost: crowd\r\n{resume}"
            f"Authorization: Bearer {mint(self.user)}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> bool:
        self.ended = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self._transport = None


async def come(port: int, comers: Sequence[Comer], seconds: float = 0.0) -> None:
    """Let all connect, spread over a time; returns when each has sent its request."""
    loop = asyncio.get_running_loop()

    async def one(number: int, comer: Comer) -> None:
        await asyncio.sleep(seconds * number / len(comers))
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", port))
        await loop.create_connection(lambda: comer, sock=sock)

    await asyncio.gather(*(one(number, comer) for number, comer in enumerate(comers)))


def answers(comers: Sequence[Comer]) -> Counter[int]:
    """Return how many have had which status."""
    return Counter(comer.status for comer in comers)


@contextmanager
def leaving(comers: Sequence[Comer]) -> Iterator[None]:
    """Let all of them leave when the block ends."""
    try:
        yield
    finally:
        for comer in comers:
            comer.abort()
