"""Opens connections to brokers: all addresses of a host, TLS, versions, login; shares one."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaConnectionError

from gateway.kafka.client import wire
from gateway.kafka.client.connection import Connection
from gateway.kafka.client.race import first_of
from gateway.kafka.client.sasl import LOGIN_SECONDS, check_code, log_in

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

NEXT_ADDRESS_SECONDS = 0.25
"""Delay until the next address of a host name is tried as well (RFC 8305)."""


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
            login = partial(log_in, connection, options)
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
        check_code(reader.int16(), f"{connection.peer} sent no valid ApiVersions response")
        return {reader.int16(): (reader.int16(), reader.int16()) for _ in range(reader.count())}
    except wire.MALFORMED as error:
        raise KafkaConnectionError(
            f"{connection.peer} sent no valid ApiVersions response"
        ) from error


class SharedConnection:
    """The connection to one broker for short requests, opened on first use."""

    def __init__(self, open_one: Callable[[], Coroutine[Any, Any, Connection]]) -> None:
        self._open_one = open_one
        self._opening: asyncio.Task[Connection] | None = None

    async def connection(self) -> Connection:
        """Return the connection; concurrent callers share one attempt and its failure."""
        opening = self._opening
        if opening is None or (opening.done() and not _is_open(opening)):
            opening = self._opening = asyncio.get_running_loop().create_task(self._open_one())
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if opening.cancelled() and not (task and task.cancelling()):
                raise KafkaConnectionError("the broker has moved to another address") from None
            raise

    async def close(self) -> None:
        """Close the connection, or cancel its opening."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
            if _is_open(self._opening):
                self._opening.result().close()


def _is_open(opening: asyncio.Task[Connection]) -> bool:
    if opening.cancelled() or opening.exception() is not None:
        return False
    return not opening.result().closed
