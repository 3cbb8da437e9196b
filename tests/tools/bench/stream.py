"""One stream of a bench client, which checks the number of every event.

A raw asyncio protocol: with a full HTTP client for each of thousands of streams, a small machine
would measure a worker that waits for its clients. Chunk framing is skipped instead of decoded; a
server that splits an event across chunks is reported as void.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from tests.tools.bench.payload import Payload
from tests.tools.bench.readers import Block
from tests.tools.bench.tally import Tally

RESET_AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER for no time: thousands of closed connections would keep their ports for a minute."""

_ID = re.compile(rb"^id: (.*)$", re.MULTILINE)

_decode = msgspec.json.Decoder(Payload).decode


@dataclass
class Place:
    """The position of a user, kept across streams."""

    next: int = 0
    """The number of the next event."""
    block: bytes = b""
    """The head of the last block that had an id."""

    @property
    def last_id(self) -> bytes:
        """The id that an `EventSource` sends when it reconnects."""
        found = _ID.search(self.block)
        return found[1] if found else b""


class Stream(asyncio.Protocol):
    """Sends `request` and counts received events in `tally()`.

    `opened` is done after a block without events that contains `greeting`: the stream is then live.
    A greeting that ends with a line break may also begin the block of the first event.
    `read` reads the blocks of a server with other framing.
    """

    def __init__(
        self,
        request: bytes,
        greeting: bytes,
        place: Place,
        opened: asyncio.Future[None],
        tally: Callable[[], Tally],
        read: Callable[[bytes, bytes], Block] | None = None,
    ) -> None:
        self._read = read
        self._request = request
        self._greeting = greeting
        self._place = place
        self._opened = opened
        self._tally = tally
        self._transport: asyncio.Transport | None = None
        self._status_known = False
        self._left = False
        self._rest = b""

    def leave(self) -> None:
        """Drop the connection; later events of it are not counted as faults."""
        self._left = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        connected: socket.socket = transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_ONCE)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        if not self._status_known:
            self._status_known = True
            if not data.startswith(b"HTTP/1.1 200 "):
                self._refuse(f"not a stream: {data[:200]!r}")
        tally = self._tally()
        tally.size += len(data)
        received = self._rest + data
        if self._greeting.endswith(b"\n") and self._greeting in received:
            self._open()
        *blocks, self._rest = received.split(b"\n\n")
        for block in blocks:
            self._take(block, now, tally)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._left:
            return
        if self._opened.done():
            self._tally().fault("streams ended")
        self._refuse(f"connection lost: {exc}")

    def _take(self, block: bytes, now: int, tally: Tally) -> None:
        if self._read is not None:
            if self._greeting in block:
                self._open()
            events, last_id = self._read(block, self._place.last_id)
            if last_id:
                self._place.block = b"id: " + last_id
            for event in events:
                self._count(event, now, tally)
            return
        head, found, data = block.rpartition(b"\ndata: ")
        if not found:
            tally.heartbeats += b": heartbeat\n" in block
            if b"id: " in block:
                self._place.block = block
            if self._greeting in block:
                self._open()
            return
        self._place.block = head
        if b"event: stream." in head:
            tally.fault("gaps or closes")
            return
        self._count(_decode(data), now, tally)

    def _count(self, event: Payload, now: int, tally: Tally) -> None:
        tally.event(now - event.t)
        place = self._place
        if event.n > place.next:
            tally.fault("lost", event.n - place.next)
        elif event.n < place.next:
            tally.fault("repeated")
        place.next = max(place.next, event.n + 1)

    def _open(self) -> None:
        if not self._opened.done():
            self._opened.set_result(None)

    def _refuse(self, reason: str) -> None:
        if not self._opened.done():
            self._opened.set_exception(ConnectionError(reason))
