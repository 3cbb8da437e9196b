"""A transport for an accepted socket, with less overhead than asyncio's own.

asyncio creates a task, a future and three calls for each accepted connection before a byte is read,
more than half of the cost of a bare connection. A stream needs few features of a transport. Bytes
are sent as soon as the kernel accepts them, and the rest is buffered; the protocol is notified when
the buffer exceeds its limit, when the buffer has drained, and when the client has disconnected.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import socket

HIGH_WATER = 65_536
"""Bytes that may be kept until the protocol is asked to pause, as asyncio's own transports do."""

READ_BYTES = 65_536


class Poller(Protocol):
    """Calls `readable` and `writable` of transports; each from the loop, never from a method.

    A call may come late, after `want` or `forget`.
    """

    parting: set[SocketTransport]
    """Transports that were closed while their clients had not read everything."""

    def watch(self, fd: int, transport: SocketTransport) -> None:
        """Watch a socket that is not watched yet, for data to read."""

    def want(self, fd: int, transport: SocketTransport, *, read: bool, write: bool) -> None:
        """Change what a watched socket is watched for."""

    def forget(self, fd: int) -> None:
        """Stop watching a socket, before it is closed; no effect on others."""

    def close(self) -> None:
        """Release the resources; no socket is watched any more."""


class SocketTransport(asyncio.Transport):
    """Writes to a connected socket, and watches it once there is a protocol to report to.

    Never calls the protocol from within `write`, but for `pause_writing`. While it is closed and
    still has bytes to send it is in the poller's `parting`.
    """

    __slots__ = (
        "_buffer",
        "_closing",
        "_fd",
        "_high",
        "_loop",
        "_lost",
        "_paused",
        "_poller",
        "_protocol",
        "_sock",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        peername: object,
        poller: Poller,
    ) -> None:
        super().__init__({"socket": sock, "peername": peername})
        self._loop = loop
        self._sock = sock
        self._fd = sock.fileno()
        self._poller = poller
        self._protocol: asyncio.Protocol | None = None
        self._buffer = b""
        self._high = HIGH_WATER
        self._paused = False
        self._closing = False
        self._lost = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Report to this protocol, and begin to watch the client."""
        assert isinstance(protocol, asyncio.Protocol)
        if self._protocol is None:
            self._poller.watch(self._fd, self)
        self._protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Pause the protocol above `high` buffered bytes and resume it at a quarter of them."""
        assert low is None, "the low mark is a quarter of the high mark"
        self._high = HIGH_WATER if high is None else high

    @property
    def is_watched(self) -> bool:
        """Whether there is, or was, a protocol to report to."""
        return self._protocol is not None or self._lost

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send what the kernel takes, and keep the rest; to no effect if the client has gone."""
        if self._lost:
            return
        if self._buffer:
            self._buffer += data
        else:
            try:
                sent = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._lose(error)
                return
            if sent == len(data):
                return
            self._buffer = bytes(data[sent:])
            self._poller.want(self._fd, self, read=not self._closing, write=True)
        if len(self._buffer) > self._high and not self._paused:
            self._paused = True
            if self._protocol is not None:
                self._protocol.pause_writing()

    def close(self) -> None:
        """Send what is kept, then close the connection."""
        if self._closing:
            return
        self._closing = True
        if self._buffer:
            self._poller.want(self._fd, self, read=False, write=True)
            self._poller.parting.add(self)
        else:
            self._lose(None)

    def abort(self) -> None:
        """Close the connection now."""
        self._lose(None)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes are kept."""
        return len(self._buffer)

    def is_closing(self) -> bool:
        """Whether nothing more can be written."""
        return self._closing

    def resume_reading(self) -> None:
        """Do nothing: reading is never paused."""

    # What the poller calls.

    def readable(self) -> None:
        """Read from the socket, which has data or has ended."""
        if self._closing:
            return
        assert self._protocol is not None
        try:
            data = self._sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(error)
            return
        if data:
            self._protocol.data_received(data)
        elif not self._protocol.eof_received():
            self.close()

    def writable(self) -> None:
        """Send kept bytes."""
        if not self._buffer:
            return
        try:
            sent = self._sock.send(self._buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(error)
            return
        self._buffer = self._buffer[sent:]
        if not self._buffer:
            if self._closing:
                self._lose(None)
            else:
                self._poller.want(self._fd, self, read=True, write=False)
        if self._paused and len(self._buffer) <= self._high // 4 and not self._lost:
            self._paused = False
            if self._protocol is not None:
                self._protocol.resume_writing()

    def _lose(self, error: OSError | None) -> None:
        """Stop watching, and tell the protocol, but not from within what it does right now."""
        if self._lost:
            return
        self._lost = self._closing = True
        self._buffer = b""
        self._poller.forget(self._fd)
        self._loop.call_soon(self._end, error)

    def _end(self, error: OSError | None) -> None:
        self._sock.close()
        self._poller.parting.discard(self)
        if self._protocol is not None:
            self._protocol.connection_lost(error)
            self._protocol = None
