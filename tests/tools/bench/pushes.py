"""A helper that publishes events to Pushpin over one ZeroMQ connection.

Pushpin's HTTP control port closes each connection after its answer, so ZeroMQ is the way to publish
many events. A PUSH socket only sends, and needs the greeting and the framing of ZMTP 3.0 (RFC 23).
"""

from __future__ import annotations

import asyncio
import sys

import msgspec

from tests.tools.bench.helper import questions, say
from tests.tools.bench.load import EVENT_TYPE, PADDING
from tests.tools.bench.pacing import Order
from tests.tools.bench.payload import payload
from tests.tools.bench.posts import Posts

GREETING = b"\xff%b\x7f\x03\x00%b%b" % (bytes(8), b"NULL".ljust(20, b"\0"), bytes(32))

READY = b"\x04\x1a\x05READY\x0bSocket-Type\x00\x00\x00\x04PUSH"

LONG = b"\x02"
"""Flag of a message whose size has eight bytes."""


class Push(asyncio.Protocol):
    """A PUSH socket; nothing is acknowledged."""

    def __init__(self) -> None:
        self.idle = asyncio.Event()
        self.idle.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(GREETING + READY)

    def connection_lost(self, exc: Exception | None) -> None:
        raise ConnectionError(f"Pushpin closed the connection: {exc}")

    def send(self, method: str, channel: str, number: int) -> None:
        """Send an event; its id is the publisher's, since Pushpin assigns none."""
        data = payload(number, PADDING).decode()
        content = f"id: {number}\nevent: {EVENT_TYPE}\ndata: {data}\n\n"
        item = {"channel": channel, "formats": {"http-stream": {"content": content}}}
        message = b"J" + msgspec.json.encode(item)
        self._transport.write(LONG + len(message).to_bytes(8, "big") + message)


async def main(port: int, users: int) -> None:
    """Execute the orders of the bench."""
    loop = asyncio.get_running_loop()
    _, push = await loop.create_connection(Push, "127.0.0.1", port)
    posts = Posts([push], users)
    async for line in questions():
        say(await posts.write(msgspec.json.decode(line, type=Order)))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
