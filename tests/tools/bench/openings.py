"""Helper: clients that connect, request a stream and disconnect, each step at the bench's request.

The sockets are blocking, because only the server's cost of each step is measured.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from pathlib import Path

import msgspec

from tests.tools.bench.helper import questions, say

CONNECT, OPEN, LEAVE = "connect", "open", "leave"

HEAD = (
    b"GET /api/v1/events HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n"
    b"Authorization: Bearer %b\r\n\r\n"
)


class Openings:
    """One connection for each token; with TLS if `tls`."""

    def __init__(self, port: int, tokens: list[bytes], *, tls: bool) -> None:
        self._port = port
        self._tokens = tokens
        self._context: ssl.SSLContext | None = None
        if tls:
            self._context = ssl.create_default_context()
            self._context.check_hostname = False
            self._context.verify_mode = ssl.CERT_NONE
        self._sockets: list[socket.socket] = []

    def connect(self) -> None:
        """Connect, with TLS up to the end of the handshakes."""
        for _ in self._tokens:
            sock = socket.create_connection(("127.0.0.1", self._port))
            self._sockets.append(self._context.wrap_socket(sock) if self._context else sock)

    def open(self) -> None:
        """Ask for the streams, and wait until each has its first id.

        The last one first: a server spends time on waking a client that waits on a socket.
        """
        for sock, token in zip(self._sockets, self._tokens, strict=True):
            sock.sendall(HEAD % token)
        for sock in reversed(self._sockets):
            received = b""
            while b"id: " not in received:
                data = sock.recv(65_536)
                if not data:
                    raise ConnectionError(f"no stream: {received!r}")
                received += data

    def leave(self) -> None:
        """Close all connections."""
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()


async def main(port: int, tokens: list[bytes], *, tls: bool) -> None:
    """Do the steps that the bench asks for; the answer is the number of clients."""
    openings = Openings(port, tokens, tls=tls)
    steps = {CONNECT: openings.connect, OPEN: openings.open, LEAVE: openings.leave}
    async for line in questions():
        steps[msgspec.json.decode(line, type=str)]()
        say(len(tokens))


if __name__ == "__main__":
    written = Path(sys.argv[2]).read_bytes().split()
    asyncio.run(main(int(sys.argv[1]), written, tls=sys.argv[3] == "tls"))
