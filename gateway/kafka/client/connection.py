"""An authenticated connection to a broker: request bytes in, response bytes out.

A request costs one future and one queue entry, without a reader task or a timer for each request: a
broker answers the requests of a connection in order. Frames are read into a reused buffer, larger
ones straight into a buffer of their size.

If the broker limits the lifetime of a login (KIP-368, `connections.max.reauth.ms`), the connection
re-authenticates before the deadline; requests wait meanwhile.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from aiokafka.conn import SaslPlainAuthenticator, ScramAuthenticator
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
    UnsupportedVersionError,
    for_code,
)

from gateway.kafka.client import wire
from gateway.kafka.client.kerberos import KerberosAuthenticator
from gateway.kafka.client.login import BearerAuthenticator, current_password
from gateway.kafka.client.race import first_of
from gateway.kafka.client.wakeup import Wakeup

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

NEXT_ADDRESS_SECONDS = 0.25
"""Delay until the next address of a host name is tried as well (RFC 8305)."""

LOGIN_SECONDS = 5.0
"""Timeout of each request of a login."""

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
        Raises `KafkaConnectionError` at once if the connection is closed.
        """
        answered = self._loop.create_future()
        self.request_for(answered, api_key, version, body, timeout)
        return answered

    def request_for(
        self, answered: Answered, api_key: int, version: int, body: bytes, timeout: float
    ) -> None:
        """Send a request whose response resolves `answered`; see `request`."""
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
            self._renewal = self._loop.call_later(delay, self._begin_login, login)

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
        for pending in self._unanswered():
            if not pending.answered.done():
                pending.answered.set_exception(error)
        self._pending.clear()
        self._held = None
        if self.on_closed is not None:
            self.on_closed()

    # Logging in again.

    def _begin_login(self, login: Callable[[], Coroutine[Any, Any, float]]) -> None:
        self._held = []
        self._login = self._loop.create_task(login())
        self._login.add_done_callback(partial(self._logged_in, login))

    def _logged_in(
        self, login: Callable[[], Coroutine[Any, Any, float]], ended: asyncio.Task[float]
    ) -> None:
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
        self.renew_login(login, ended.result())


async def open_connection(
    options: Mapping[str, Any], host: str, port: int, timeout: float
) -> Connection:
    """Return a connection to a broker, with TLS and login according to `options`.

    `options` are those of `connection_options`. All addresses of the host are tried (KIP-302).
    Raises `KafkaConnectionError`, with the failure of TLS or of the network as its cause, also when
    nothing answers within `timeout` seconds, and another `KafkaError` when the broker rejects the
    login.
    """
    peer = f"{host}:{port}"
    try:
        async with asyncio.timeout(timeout):
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM
            )
            addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
            return await first_of(
                [partial(_open, options, peer, host, address, port) for address in addresses],
                NEXT_ADDRESS_SECONDS,
                Connection.close,
            )
    except TimeoutError as error:
        raise KafkaConnectionError(f"{peer} does not answer within {timeout:g} s") from error
    except (OSError, UnicodeError, OverflowError) as error:
        # A broker may advertise a name with an empty label, or a port above 65535.
        raise KafkaConnectionError(f"{peer} cannot be reached: {error}") from error


async def _open(
    options: Mapping[str, Any], peer: str, host: str, address: str, port: int
) -> Connection:
    protocol = options.get("security_protocol", "PLAINTEXT")
    encrypted = (
        {"ssl": options["ssl_context"], "server_hostname": host} if "SSL" in protocol else {}
    )
    connection = Connection(peer, options.get("client_id", "gateway"))
    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: connection, address, port, **encrypted)
    try:
        connection.versions = await _versions(connection)
        if protocol.startswith("SASL"):
            login = partial(_login, connection, options)
            connection.renew_login(login, await login())
    except BaseException:
        connection.close()
        raise
    return connection


async def _versions(connection: Connection) -> dict[int, tuple[int, int]]:
    """Return the versions of each API key, by ApiVersions v0."""
    answer = await connection.request(wire.API_VERSIONS, 0, b"", LOGIN_SECONDS)
    try:
        reader = wire.Reader(answer, flexible=False)
        _check_code(reader.int16(), f"{connection.peer} sent no valid ApiVersions response")
        return {reader.int16(): (reader.int16(), reader.int16()) for _ in range(reader.count())}
    except wire.MALFORMED as error:
        raise KafkaConnectionError(
            f"{connection.peer} sent no valid ApiVersions response"
        ) from error


async def _login(connection: Connection, options: Mapping[str, Any]) -> float:
    """Log in by SASL and return the lifetime in seconds; 0: unlimited."""
    mechanism = options["sasl_mechanism"]
    version = wire.supported(connection.versions, wire.SASL_AUTHENTICATE, 1)
    if version is None:
        raise UnsupportedVersionError(f"{connection.peer} is older than Kafka 1.0")
    send = connection.request_at_once
    try:
        answer = await send(
            wire.SASL_HANDSHAKE, 1, wire.string(mechanism, flexible=False), LOGIN_SECONDS
        )
        reader = wire.Reader(answer, flexible=False)
        code = reader.int16()
        enabled = [reader.string() for _ in range(reader.count())]
        _check_code(code, f"enabled mechanisms: {enabled}")
        if mechanism not in enabled:
            raise UnsupportedSaslMechanismError(f"enabled mechanisms: {enabled}")
        authenticator = _authenticator(mechanism, options, connection.peer)
        token, lifetime_ms = None, 0
        while (step := await authenticator.step(token)) is not None:
            payload = step[0]
            answer = await send(
                wire.SASL_AUTHENTICATE,
                version,
                _INT32.pack(len(payload)) + payload,
                LOGIN_SECONDS,
            )
            reader = wire.Reader(answer, flexible=False)
            code, message, token = reader.int16(), reader.string(), reader.bytes()
            _check_code(code, message or "")
            lifetime_ms = reader.int64() if version >= 1 else 0
    except (*wire.MALFORMED, ValueError, KeyError, AssertionError) as error:
        # The authenticators raise these if the server cannot prove that it knows the password.
        raise SaslAuthenticationFailed(f"{connection.peer}: login not understood") from error
    return lifetime_ms / 1000


def _authenticator(mechanism: str, options: Mapping[str, Any], peer: str) -> Any:
    if mechanism == "OAUTHBEARER":
        return BearerAuthenticator(sasl_oauth_token_provider=options["sasl_oauth_token_provider"])
    if mechanism == "GSSAPI":
        host = options["sasl_kerberos_domain_name"] or peer.rpartition(":")[0]
        return KerberosAuthenticator(
            loop=asyncio.get_running_loop(),
            principal=f"{options['sasl_kerberos_service_name']}@{host}",
        )
    settings = {
        "loop": asyncio.get_running_loop(),
        "sasl_plain_username": options["sasl_plain_username"],
        "sasl_plain_password": current_password(options["sasl_plain_password"]),
    }
    if mechanism == "PLAIN":
        return SaslPlainAuthenticator(**settings)
    return ScramAuthenticator(sasl_mechanism=mechanism, **settings)


def _check_code(code: int, message: str) -> None:
    if code:
        raise for_code(code)(message)


def _tags_size(data: memoryview) -> int:
    if data[0] == 0:
        return 1
    reader = wire.Reader(bytes(data), flexible=True)
    reader.tags()
    return reader.at
