"""The simulated connection of a client, which is a sink of the hub.

Its bytes can be delayed, cut at any byte, or lost with the connection, as with TCP.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from gateway.core.stream import Stream
from tests.core.workers import Worker
from tests.sse import EventStreamParser

if TYPE_CHECKING:
    from tests.core.clients import Client


class Connection:
    """A sink with a simulated network.

    `room` is the number of bytes that the transport accepts while the client does not read; None:
    the client reads. `cut` is the number of bytes after which the connection breaks; None: never.
    """

    chunked = False

    def __init__(
        self, client: Client, worker: Worker, *, room: int | None = None, cut: int | None = None
    ) -> None:
        self.client = client
        self.worker = worker
        self.stream: Stream | None = None
        self.stuck = False
        self.writes = 0
        self.delivered = b""
        """All bytes that the client has read."""
        self._room = room
        self._cut = cut
        self._pending: deque[tuple[bytes, int]] = deque()
        self._size = 0
        self._broken = False
        self._parser = EventStreamParser()
        # By the standard the id is kept until the first blank line of the next connection.
        self._parser.last_event_id = client.last_id

    # Called by the hub.

    def bind(self, stream: Stream) -> None:
        self.stream = stream

    def write(self, data: bytes) -> None:
        assert data
        assert self.stream is not None
        if self._broken:
            return
        self.writes += 1
        self._pending.append((data, self.client.world.epoch))
        self._size += len(data)
        if self._room is None:
            self._flush()
        elif self._size > self._room and not self.stuck:
            self.stuck = True
            self.worker.hub.stuck(self.stream, self.client.world.moment)

    def close(self) -> None:
        self._flush()
        self._break()

    # Actions of the network.

    def stall(self, room: int) -> None:
        """Stop reading in the client."""
        if self._room is None:
            self._room = room

    def drain(self) -> None:
        """Resume reading in the client."""
        self._room = None
        self._flush()
        if self.stuck:
            self.stuck = False
            assert self.stream is not None
            self.worker.hub.drained(self.stream, self.client.world.moment)

    def drain_once(self, room: int) -> None:
        """Let the client read the bytes received so far, and stop again."""
        self._flush()
        self._room = room
        if self.stuck:
            self.stuck = False
            assert self.stream is not None
            self.worker.hub.drained(self.stream, self.client.world.moment)

    def drop(self, arrived: int) -> None:
        """Break the connection; only `arrived` bytes in flight reach the client."""
        if not self._broken:
            self._cut = arrived if self._cut is None else min(arrived, self._cut)
            self._flush()
            self._break()

    def lost(self) -> None:
        """Report the broken connection to the worker."""
        assert self.stream is not None
        assert self._broken
        self.worker.hub.lost(self.stream, self.client.world.moment)

    def _flush(self) -> None:
        while self._pending and not self._broken:
            data, epoch = self._pending.popleft()
            self._size -= len(data)
            whole = len(data)
            if self._cut is not None:
                data = data[: self._cut]
                self._cut -= len(data)
            self.delivered += data
            self.client.receive(self._parser, data, epoch)
            if len(data) < whole:
                self._break()

    def _break(self) -> None:
        if not self._broken:
            self._broken = True
            self._pending.clear()
            if self.client.connection is self:
                self.client.disconnected()
