"""A helper that holds many streams open, each with a user of its own, and checks every event.

The streams are raw asyncio protocols: a full HTTP client for each of thousands would take so much
of a small machine that the worker would be measured waiting for its clients. So chunk framing is
not undone but stepped over. A server that cuts an event in two by a chunk would be found void.

Asked anything, it answers with its tally since it was last asked.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import time

import msgspec

from tests.bench.helper import questions, say
from tests.bench.load import user_name
from tests.bench.payload import Payload
from tests.bench.tally import Tally
from tests.tokens import mint

OPENING = 50
"""Streams that are being opened at a time: a crowd, and no storm."""

OPEN_SECONDS = 60.0

RESET_AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER for no time: thousands of closed connections would keep their ports for a minute."""


class Clients:
    """The streams of this process, and what they have received since somebody asked."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._payload = msgspec.json.Decoder(Payload)

    def decode(self, data: bytes) -> Payload:
        """Return an event's payload."""
        return self._payload.decode(data)

    def take_tally(self) -> Tally:
        """Return the tally, and begin a new one."""
        taken, self.tally = self.tally, Tally()
        return taken

    async def open(self, port: int, user: str) -> None:
        """Return when a stream follows its logs; `ConnectionError` where there is none."""
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        await loop.create_connection(lambda: Stream(self, opened, mint(user)), "127.0.0.1", port)
        await opened


class Stream(asyncio.Protocol):
    """One stream; `opened` is done when its first id has come: from then on nothing is missed."""

    def __init__(self, clients: Clients, opened: asyncio.Future[None], token: str) -> None:
        self._clients = clients
        self._opened = opened
        self._token = token
        self._status_known = False
        self._rest = b""
        self._next = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        connected: socket.socket = transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_ONCE)
        transport.write(
            b"GET /api/v1/events HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n"
            b"Authorization: Bearer %b\r\n\r\n" % self._token.encode()
        )

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        if not self._status_known:
            self._status_known = True
            if not data.startswith(b"HTTP/1.1 200 "):
                self._refuse(f"no stream: {data[:200]!r}")
        self._clients.tally.size += len(data)
        *blocks, self._rest = (self._rest + data).split(b"\n\n")
        for block in blocks:
            self._take(block, now)

    def connection_lost(self, exc: Exception | None) -> None:
        self._refuse(f"connection lost: {exc}")
        self._clients.tally.fault("streams ended")

    def _take(self, block: bytes, now: int) -> None:
        head, found, data = block.rpartition(b"\ndata: ")
        if not found:
            if b"id: " in block and not self._opened.done():
                self._opened.set_result(None)
            return
        tally = self._clients.tally
        if b"event: stream." in head:
            tally.fault("gaps or goodbyes")
            return
        event = self._clients.decode(data)
        tally.event(now - event.t)
        if event.n > self._next:
            tally.fault("lost", event.n - self._next)
        elif event.n < self._next:
            tally.fault("repeated")
        self._next = max(self._next, event.n + 1)

    def _refuse(self, reason: str) -> None:
        if not self._opened.done():
            self._opened.set_exception(ConnectionError(reason))


async def main(port: int, first: int, count: int) -> None:
    """Open the streams, say so, and answer until the bench has gone."""
    clients = Clients()
    async with asyncio.timeout(OPEN_SECONDS):
        for begin in range(first, first + count, OPENING):
            users = range(begin, min(begin + OPENING, first + count))
            await asyncio.gather(*(clients.open(port, user_name(user)) for user in users))
    say(count)
    async for _ in questions():
        say(clients.take_tally())


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
