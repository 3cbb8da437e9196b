"""An authenticated connection to a broker: request bytes in, response bytes out.

A request costs one future and one queue entry, without a reader task or a timer for each request: a
broker answers the requests of a connection in order. Frames are read into a reused buffer, larger
ones straight into a buffer of their size.

If the broker limits the lifetime of a login (KIP-368, `connections.max.reauth.ms`), the connection
re-authenticates before the deadline; requests wait meanwhile.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
)

from gateway.kafka.client import wire
from gateway.kafka.client.wakeup import Wakeup

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

RENEWED_AFTER = 0.85
"""Fraction of the lifetime after which a login is renewed; Kafka's clients use 0.85 to 0.95."""

LEAST_LOGIN_SECONDS = 1.1
"""Minimum delay of re-authentication: brokers reject it within a second of the last login."""

INBOX = 1 << 16
"""Size of the reused buffer in bytes."""

LARGEST_FRAME = 1 << 28
"""Maximum response size in bytes; the first bytes of HTTP or TLS read as a larger one."""

_PREFIX = struct.Struct(">ihhi")
"""Start of a request: length, API key, version, correlation id."""

_INT32 = struct.Struct(">i")


class ForeignProtocolError(KafkaConnectionError):  # type: ignore[misc] # untyped aiokafka
    """The peer answers, but not in Kafka's protocol: it may expect TLS, or HTTP."""


class NotSentError(KafkaConnectionError):  # type: ignore[misc] # untyped aiokafka
    """The connection ended before it had sent the request."""


Answered = asyncio.Future[bytes] | Wakeup[bytes]


class _Pending(msgspec.Struct, gc=False):
    """A request without a response yet."""

    correlation_id: int
    flexible: bool
    deadline: float
    answered: Answered


class Connection(asyncio.BufferedProtocol):
    """A connection made by `open_connection`.

    `versions` maps each API key of the broker to its lowest and highest version. `on_closed` is
    called once when the connection ends, also by `close`.
    """

    def __init__(self, peer: str, client_id: str) -> None:
        self.peer = peer
        """The broker's `host:port`, for messages."""
        self.versions: Mapping[int, tuple[int, int]] = {}
        self.on_closed: Callable[[], None] | None = None
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._client = wire.string(client_id, flexible=False)
        self._pending: deque[_Pending] = deque()
        self._held: list[tuple[bytes, _Pending]] | None = None
        """Requests that wait for the end of re-authentication; None: not in progress."""
        self._correlation_id = 0
        self._check: asyncio.TimerHandle | None = None
        self._renewal: asyncio.TimerHandle | None = None
        self._log_in: Callable[[], Coroutine[Any, Any, float]] | None = None
        self._login: asyncio.Task[float] | None = None
        self._inbox = bytearray(INBOX)
        self._frame: bytearray | None = None
        """An incomplete frame that is larger than the inbox."""
        self._filled = 0
        """Bytes received in `_frame`, else in `_inbox`."""

    def request(
        self, api_key: int, version: int, body: bytes, timeout: float
    ) -> asyncio.Future[bytes]:
        """Send a request and return the future of the response body, without its header.

        Requests may be pipelined. The future raises `KafkaConnectionError` when the connection
        breaks, or when no response arrives within `timeout` seconds; that closes the connection.
        Raises `KafkaConnectionError` at once if the connection is closed. The error is a
        `NotSentError` if the request waited for the end of re-authentication.
        """
        answered = self._loop.create_future()
        self.request_for(answered, api_key, version, body, timeout)
        return answered

    def request_for(
        self, answered: Answered, api_key: int, version: int, body: bytes, timeout: float
    ) -> None:
        """Send a request whose response resolves `answered`; see `request`."""
        if self._renewal is not None and self._renewal.when() <= self._loop.time():
            # The event loop is late. The broker closes a connection whose login has expired.
            self._renewal.cancel()
            self._begin_login()
        frame, pending = self._prepare(answered, api_key, version, body, timeout)
        if self._held is None:
            self._send(frame, pending)
        else:
            self._held.append((frame, pending))
            self._check_by(pending.deadline)

    def close(self) -> None:
        """Close the connection; pending requests fail."""
        self._end(KafkaConnectionError(f"connection to {self.peer} closed"))

    def renew_login(self, login: Callable[[], Coroutine[Any, Any, float]], lifetime: float) -> None:
        """Call `login` before `lifetime` seconds have passed; 0: never.

        `login` returns the new lifetime.
        """
        if lifetime > 0:
            delay = max(LEAST_LOGIN_SECONDS, lifetime * RENEWED_AFTER)
            self._log_in = login
            self._renewal = self._loop.call_later(delay, self._begin_login)

    def request_at_once(
        self, api_key: int, version: int, body: bytes, timeout: float
    ) -> asyncio.Future[bytes]:
        """Send a login request, ahead of the requests that wait for the login."""
        answered = self._loop.create_future()
        self._send(*self._prepare(answered, api_key, version, body, timeout))
        return answered

    # Callbacks of the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the pending requests."""
        cause = exc or EOFError("the broker has closed the connection")
        self._end(KafkaConnectionError(f"connection to {self.peer} broke: {cause}"), cause)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer for the next bytes."""
        del sizehint
        return memoryview(self._inbox if self._frame is None else self._frame)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Resolve the futures of complete frames."""
        self._filled += nbytes
        if self._frame is not None:
            if self._filled == len(self._frame):
                frame, self._frame, self._filled = self._frame, None, 0
                self._received(memoryview(frame))
            return
        view = memoryview(self._inbox)
        start, size = 0, 0
        while self._filled - start >= _INT32.size:
            (size,) = _INT32.unpack_from(self._inbox, start)
            if not _INT32.size <= size <= LARGEST_FRAME:
                self._end(ForeignProtocolError(f"{self.peer} does not speak Kafka's protocol"))
                return
            end = start + _INT32.size + size
            if end > self._filled:
                break
            self._received(view[start + _INT32.size : end])
            start = end
        rest = view[start : self._filled]
        self._filled = len(rest)
        if len(rest) >= _INT32.size and size + _INT32.size > INBOX:
            self._frame = bytearray(size)
            self._filled -= _INT32.size
            self._frame[: self._filled] = rest[_INT32.size :]
        elif start:
            self._inbox[: self._filled] = bytes(rest)

    def _prepare(
        self, answered: Answered, api_key: int, version: int, body: bytes, timeout: float
    ) -> tuple[bytes, _Pending]:
        if self.closed:
            raise KafkaConnectionError(f"connection to {self.peer} is closed")
        flexible = wire.is_flexible(api_key, version)
        self._correlation_id = number = (self._correlation_id + 1) & 0x7FFFFFFF
        rest = self._client + wire.NO_TAGS + body if flexible else self._client + body
        size = _PREFIX.size - _INT32.size + len(rest)
        frame = _PREFIX.pack(size, api_key, version, number) + rest
        deadline = self._loop.time() + timeout
        return frame, _Pending(number, flexible, deadline, answered)

    def _send(self, frame: bytes, pending: _Pending) -> None:
        assert self._transport is not None
        self._pending.append(pending)
        self._transport.write(frame)
        self._check_by(pending.deadline)

    def _received(self, frame: memoryview) -> None:
        if self.closed:
            return
        (number,) = _INT32.unpack_from(frame)
        if not self._pending or self._pending[0].correlation_id != number:
            self._break(f"{self.peer} sent a response without a request")
            return
        pending = self._pending.popleft()
        start = _INT32.size
        if pending.flexible:
            try:
                start += _tags_size(frame[start:])
            except wire.MALFORMED:
                self._break(f"{self.peer} sent an invalid response header")
                return
        if not pending.answered.done():  # the caller may have been cancelled
            pending.answered.set_result(bytes(frame[start:]))

    # Deadlines.

    def _check_by(self, deadline: float) -> None:
        """Check the deadlines at this time, or earlier."""
        if self._check is not None:
            if self._check.when() <= deadline:
                return
            self._check.cancel()
        self._check = self._loop.call_at(deadline, self._check_deadlines)

    def _check_deadlines(self) -> None:
        self._check = None
        deadline = min([pending.deadline for pending in self._unanswered()], default=None)
        if deadline is None:
            return
        if deadline > self._loop.time():
            self._check_by(deadline)
        else:
            self._break(f"{self.peer} does not answer")

    def _unanswered(self) -> list[_Pending]:
        return [*self._pending, *(pending for _, pending in self._held or ())]

    def _break(self, reason: str) -> None:
        self._end(KafkaConnectionError(reason))

    def _end(self, error: KafkaError, cause: BaseException | None = None) -> None:
        if self.closed:
            return
        self.closed = True
        error.__cause__ = cause
        for timer in (self._check, self._renewal):
            if timer is not None:
                timer.cancel()
        if self._login is not None:
            self._login.cancel()
        if self._transport is not None:
            self._transport.abort()
        not_sent = NotSentError(*error.args)
        not_sent.__cause__ = cause
        held = [pending for _, pending in self._held or ()]
        failed = [(each, error) for each in self._pending] + [(each, not_sent) for each in held]
        for pending, failure in failed:
            if not pending.answered.done():
                pending.answered.set_exception(failure)
                if isinstance(pending.answered, asyncio.Future):
                    # A caller of several requests may end with the first failure. asyncio would
                    # report each of the others as an error.
                    pending.answered.exception()
        self._pending.clear()
        self._held = None
        if self.on_closed is not None:
            self.on_closed()

    # Logging in again.

    def _begin_login(self) -> None:
        assert self._log_in is not None
        self._renewal = None
        self._held = []
        self._login = self._loop.create_task(self._log_in())
        self._login.add_done_callback(self._logged_in)

    def _logged_in(self, ended: asyncio.Task[float]) -> None:
        """Send the held requests; close the connection unless the login has succeeded.

        The login may raise anything, for example an exception of a SASL library.
        """
        self._login = None
        error = asyncio.CancelledError() if ended.cancelled() else ended.exception()
        if self.closed:
            return
        if error is not None:
            cause = str(error) if isinstance(error, KafkaError | OSError) else type(error).__name__
            self._end(KafkaConnectionError(f"login to {self.peer} not renewed: {cause}"), error)
            return
        held, self._held = self._held or [], None
        for frame, pending in held:
            if not pending.answered.done():
                self._send(frame, pending)
        assert self._log_in is not None
        self.renew_login(self._log_in, ended.result())


def _tags_size(data: memoryview) -> int:
    if data[0] == 0:
        return 1
    reader = wire.Reader(bytes(data), flexible=True)
    reader.tags()
    return reader.at
