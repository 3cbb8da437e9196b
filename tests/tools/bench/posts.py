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
from collections.abc import Sequence
from typing import Protocol

import msgspec

from tests.tools.bench.forms import FORMS, NCHAN, Form
from tests.tools.bench.helper import questions, say
from tests.tools.bench.load import PADDING, user_name
from tests.tools.bench.pacing import Order, Written, due
from tests.tools.bench.payload import payload

CONNECTIONS = 16

BROADCASTS = "broadcasts"
"""The channel that all clients share."""

ACCEPTED = (b"HTTP/1.1 200 ", b"HTTP/1.1 201 ", b"HTTP/1.1 202 ", b"HTTP/1.1 204 ")

_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """One persistent connection and its queued requests: method, channel, and number of the event.

    The payload is made when the request is sent, so the latency includes no time in the queue.
    """

    def __init__(self, form: Form) -> None:
        self.idle = asyncio.Event()
        self.idle.set()
        self._form = form
        self._headers = form.headers()
        self._waiting: deque[tuple[str, str, int]] = deque()
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        raise ConnectionError(f"the server closed the connection: {exc}")

    def send(self, method: str, channel: str, number: int) -> None:
        """Send a request after the previous ones were answered."""
        self._waiting.append((method, channel, number))
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
        method, channel, number = self._waiting.popleft()
        body = b""
        if method == "POST":
            body = self._form.body(channel, payload(number, PADDING))
        path = self._form.path.format(channel=channel).encode()
        self._transport.write(
            b"%b %b HTTP/1.1\r\nHost: bench\r\n%bContent-Length: %d\r\n\r\n%b"
            % (method.encode(), path, self._headers, len(body), body)
        )


class Publisher(Protocol):
    """A connection to a server; `idle` is set while the server has answered everything."""

    idle: asyncio.Event

    def send(self, method: str, channel: str, number: int) -> None:
        """Send an event, or another request for the channel."""


class Posts:
    """Publishes to users round robin; 0 users mean broadcasts."""

    def __init__(self, connections: Sequence[Publisher], users: int) -> None:
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
        self._send("POST", turn, number)
        self._written += 1

    async def create(self) -> None:
        """Create what the events are published to."""
        for turn in range(self._users or 1):
            self._send("PUT", turn, 0)
        await self._answered()

    def _send(self, method: str, turn: int, number: int) -> None:
        channel = user_name(turn) if self._users else BROADCASTS
        self._connections[turn % len(self._connections)].send(method, channel, number)

    async def _answered(self) -> None:
        for connection in self._connections:
            await connection.idle.wait()


async def main(port: int, users: int, form: Form) -> None:
    """Execute the orders of the bench; report first when everything exists that must."""
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Connection(form), "127.0.0.1", port)
        for _ in range(CONNECTIONS)
    ]
    posts = Posts([connection for _, connection in made], users)
    if form.create:
        await posts.create()
        say(users)
    async for line in questions():
        say(await posts.write(msgspec.json.decode(line, type=Order)))


if __name__ == "__main__":
    port, users, *form = sys.argv[1:]
    asyncio.run(main(int(port), int(users), FORMS[form[0] if form else NCHAN]))
