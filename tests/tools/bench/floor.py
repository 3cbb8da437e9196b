"""A helper for the floor: the minimum of a Python server for a connection and its bytes.

A bare asyncio server without HTTP parsing, tokens, Kafka or checks. It builds each event once and
writes it to every connection.
"""

from __future__ import annotations

import asyncio
import sys
import time

import msgspec

from tests.tools.bench.helper import questions, say
from tests.tools.bench.pacing import Order, Written, due
from tests.tools.bench.payload import payload

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nid: floor\n\n"


class Connection(asyncio.Protocol):
    """A client that sent a request; its content is ignored."""

    def __init__(self, transports: list[asyncio.Transport]) -> None:
        self._transports = transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(HEAD)
        self._transports.append(self._transport)


def block(number: int, size: int) -> bytes:
    """Return an event of `size` bytes in total, or of the minimum size."""
    head, tail = b"id: floor\nevent: floor\ndata: ", b"\n\n"
    least = len(head) + len(payload(number, 0)) + len(tail)
    return head + payload(number, max(0, size - least)) + tail


async def main(size: int) -> None:
    """Listen, report the port, and write the ordered events to all connections."""
    transports: list[asyncio.Transport] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(transports), "127.0.0.1", 0, backlog=4096)
    say(server.sockets[0].getsockname()[1])
    written = 0
    async for line in questions():
        begin, first = time.monotonic(), written
        async for count in due(msgspec.json.decode(line, type=Order)):
            for number in range(written, written + count):
                data = block(number, size)
                for transport in transports:
                    transport.write(data)
            written += count
        say(Written(written - first, time.monotonic() - begin))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
