"""A helper that publishes events over persistent HTTP connections, to Nchan by default.

Each connection posts one event at a time and waits for the answer, as a service with a pool of
connections does. A user's events keep to one connection, and so to their order.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections import deque

import msgspec

from tests.tools.bench.helper import questions, say
from tests.tools.bench.load import PADDING, user_name
from tests.tools.bench.pacing import Order, Written, due
from tests.tools.bench.payload import payload

CONNECTIONS = 16

ACCEPTED = (b"HTTP/1.1 201 ", b"HTTP/1.1 202 ", b"HTTP/1.1 204 ")

_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """One persistent connection and its queued requests: method, path, and number of the event."""

    def __init__(self) -> None:
        self.idle = asyncio.Event()
        self.idle.set()
        self._waiting: deque[tuple[str, str, int]] = deque()
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        raise ConnectionError(f"the server closed the connection: {exc}")

    def send(self, method: str, path: str, number: int) -> None:
        """Send a request after the previous ones were answered."""
        self._waiting.append((method, path, number))
        if self.idle.is_set():
            self.idle.clear()
            self._send()

    def data_received(self, data: bytes) -> None:
        self._rest += data
        head, found, body = self._rest.partition(b"\r\n\r\n")
        length = _LENGTH.search(head + b"\r\n")
        if not found or len(body) < (0 if length is None else int(length[1])):
            return
        if not head.startswith(ACCEPTED):
            raise ConnectionError(f"the server rejected an event: {head!r}")
        self._rest = b""
        if self._waiting:
            self._send()
        else:
            self.idle.set()

    def _send(self) -> None:
        method, path, number = self._waiting.popleft()
        body = payload(number, PADDING) if method == "POST" else b""
        self._transport.write(
            b"%b %b HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (method.encode(), path.encode(), len(body), body)
        )


class Posts:
    """Publishes to users round robin, at `prefix` and their names; 0 users mean broadcasts."""

    def __init__(self, connections: list[Connection], users: int, prefix: str) -> None:
        self._prefix = prefix
        self._connections = connections
        self._users = users
        self._written = 0

    async def write(self, order: Order) -> Written:
        """Publish the ordered events; return when all were accepted."""
        begin, first = time.monotonic(), self._written
        async for count in due(order):
            for _ in range(count):
                self._write_one()
        seconds = time.monotonic() - begin
        await self._answered()
        return Written(self._written - first, seconds)

    def _write_one(self) -> None:
        number, turn = divmod(self._written, self._users or 1)
        self._connections[turn % len(self._connections)].send("POST", self._path(turn), number)
        self._written += 1

    def _path(self, turn: int) -> str:
        return self._prefix + (user_name(turn) if self._users else "broadcasts")

    async def create(self) -> None:
        """Create what the events are published to."""
        for turn in range(self._users or 1):
            self._connections[turn % len(self._connections)].send("PUT", self._path(turn), 0)
        await self._answered()

    async def _answered(self) -> None:
        for connection in self._connections:
            await connection.idle.wait()


async def main(port: int, users: int, prefix: str = "/pub/", create: str = "") -> None:
    """Execute the orders of the bench; with `create` report when everything exists."""
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(Connection, "127.0.0.1", port) for _ in range(CONNECTIONS)]
    posts = Posts([connection for _, connection in made], users, prefix)
    if create:
        await posts.create()
        say(users)
    async for line in questions():
        say(await posts.write(msgspec.json.decode(line, type=Order)))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
