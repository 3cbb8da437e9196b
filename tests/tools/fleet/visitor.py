"""A client that behaves like an `EventSource`, cheap enough for thousands in one process.

It follows a redirect on the same connection, keeps the redirected URL (like Chromium) and the last
id, waits for `retry:`, and stops at any status except 200.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from urllib.parse import urljoin

import msgspec

from tests.tokens import mint
from tests.tools.bench.payload import Payload

RESET_AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER for no time: thousands of closed connections would keep their ports for a minute."""

_decode = msgspec.json.Decoder(Payload).decode


class Sightings(msgspec.Struct):
    """Totals of all clients; seconds are of the monotonic clock."""

    following: int = 0
    """Live streams."""
    events: int = 0
    lost: int = 0
    repeated: int = 0
    gaps: int = 0
    goodbyes: int = 0
    redirects: int = 0
    given_up: int = 0
    """Responses after which an `EventSource` does not reconnect."""
    longest_interruption: float = 0.0
    longest_delay: float = 0.0
    """Seconds from the send of an event until its arrival."""
    connections: dict[int, int] = msgspec.field(default_factory=dict)
    """New connections, by second."""

    def add(self, other: Sightings) -> None:
        """Add other totals."""
        for name in self.__struct_fields__:
            mine, theirs = getattr(self, name), getattr(other, name)
            if name.startswith("longest"):
                setattr(self, name, max(mine, theirs))
            elif name == "connections":
                for second, count in theirs.items():
                    mine[second] = mine.get(second, 0) + count
            else:
                setattr(self, name, mine + theirs)


class Visitor:
    """One user, across streams."""

    def __init__(self, user: str, port: int, seen: Sightings) -> None:
        self.seen = seen
        self._port = port
        self._token = mint(user)
        self._target = "/api/v1/events"
        self._last_id = b""
        self._retry = 3.0
        self._next = 0
        self._following = False
        self._cut: float | None = None

    async def connect(self) -> None:
        """Open a connection; retry later if refused."""
        second = int(time.monotonic())
        self.seen.connections[second] = self.seen.connections.get(second, 0) + 1
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: _Answers(self), "127.0.0.1", self._port)
        except OSError:
            self.ended()

    def request(self) -> bytes:
        resume = b"Last-Event-ID: %b\r\n" % self._last_id if self._last_id else b""
        return (
            b"GET %b HTTP/1.1\r\nHost: fleet\r\nAccept: text/event-stream\r\n"
            b"Authorization: Bearer %b\r\n%b\r\n"
            % (self._target.encode(), self._token.encode(), resume)
        )

    def sent_to(self, reference: str) -> None:
        """Follow a redirect relative to the URL."""
        assert reference.startswith("events?shard="), reference
        self.seen.redirects += 1
        self._target = urljoin(self._target, reference)

    def refused(self) -> None:
        self.seen.given_up += 1

    def receive(self, block: bytes) -> None:
        """Process a block of the stream."""
        fields = dict(line.partition(b": ")[::2] for line in block.split(b"\n"))
        if b"retry" in fields:
            self._retry = int(fields[b"retry"]) / 1000
        if b"id" in fields:
            self._last_id = fields[b"id"]
            self._follows()
        event = fields.get(b"event", b"")
        if event == b"stream.gap":
            self.seen.gaps += 1
        elif event == b"stream.close":
            self.seen.goodbyes += 1
            self._interrupted()
        elif b"data" in fields:
            self._check(_decode(fields[b"data"]))

    def ended(self) -> None:
        """Reconnect after the retry time; called when a connection ended."""
        self._interrupted()
        loop = asyncio.get_running_loop()
        loop.call_later(self._retry, lambda: loop.create_task(self.connect()))

    def _follows(self) -> None:
        if not self._following:
            self._following = True
            self.seen.following += 1
            if self._cut is not None:
                seconds = time.monotonic() - self._cut
                self.seen.longest_interruption = max(self.seen.longest_interruption, seconds)
                self._cut = None

    def _interrupted(self) -> None:
        if self._following:
            self._following = False
            self.seen.following -= 1
            self._cut = time.monotonic()

    def _check(self, event: Payload) -> None:
        seen = self.seen
        seen.events += 1
        seen.longest_delay = max(seen.longest_delay, (time.monotonic_ns() - event.t) / 1e9)
        if event.n < self._next:
            seen.repeated += 1
        else:
            seen.lost += event.n - self._next
            self._next = event.n + 1


class _Answers(asyncio.Protocol):
    """One connection: its responses, the last of which is the stream."""

    def __init__(self, visitor: Visitor) -> None:
        self._visitor = visitor
        self._transport: asyncio.Transport | None = None
        self._data = b""
        self._in_stream = False
        self._text = b""
        self._final = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        connected: socket.socket = transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_ONCE)
        self._transport = transport
        transport.write(self._visitor.request())

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self._in_stream:
            self._read_head()
        if self._in_stream:
            self._read_chunks()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._final:
            self._visitor.ended()

    def _read_head(self) -> None:
        head, found, rest = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.decode().split("\r\n")
        fields = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
        }
        assert self._transport is not None
        status = lines[0].split(" ")[1]
        if status == "200":
            self._in_stream = True
            self._data = rest
            if "chunked" not in fields.get("transfer-encoding", ""):  # the proxy's own, see deploy/
                self._in_stream = False
                self._visitor.receive(rest.strip())
                self._transport.abort()
        elif status == "307":
            length = int(fields["content-length"])
            if len(rest) >= length:
                self._data = rest[length:]
                self._visitor.sent_to(fields["location"])
                self._transport.write(self._visitor.request())
        else:
            self._final = True
            self._visitor.refused()
            self._transport.abort()

    def _read_chunks(self) -> None:
        """Decode the received chunks (RFC 9112, §7.1) and process complete blocks."""
        data = self._data
        while (line := data.find(b"\r\n")) >= 0:
            size = int(data[:line], 16)
            end = line + 2 + size
            if len(data) < end + 2:
                break
            if not size:
                assert self._transport is not None
                self._transport.abort()
                break
            self._text += data[line + 2 : end]
            data = data[end + 2 :]
        self._data = data
        *blocks, self._text = self._text.split(b"\n\n")
        for block in blocks:
            self._visitor.receive(block)
