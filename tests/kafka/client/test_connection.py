from __future__ import annotations

import asyncio
import gc
import socket
import struct
import time
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, SaslAuthenticationFailed

from gateway.kafka.client import wire
from gateway.kafka.client.connection import (
    INBOX,
    LEAST_LOGIN_SECONDS,
    Connection,
    NotSentError,
)
from gateway.kafka.client.open_connection import open_connection
from tests.brokers.scripted import Request, ScriptedServer
from tests.conftest import Broker
from tests.eventually import DEADLINE

UNUSED, FLEXIBLE = (99, 0), (wire.METADATA, 12)
"""Requests with and without a flexible header."""


def echo(request: Request) -> bytes:
    tags = b"\x00" if wire.is_flexible(request.api_key, request.version) else b""
    return struct.pack(">i", request.correlation_id) + tags + request.body


async def opened(server: ScriptedServer, **options: Any) -> Connection:
    return await open_connection({"client_id": "me", **options}, "127.0.0.1", server.port, DEADLINE)


@pytest.mark.parametrize("kind", [UNUSED, FLEXIBLE])
@pytest.mark.parametrize("size", [0, 1, 1000, INBOX - 12, INBOX, 3 * INBOX + 1])
async def test_response_bodies_of_any_size(kind: tuple[int, int], size: int) -> None:
    client = wire.string("me", flexible=False) + (b"\x00" if kind == FLEXIBLE else b"")
    body = bytes(index % 251 for index in range(size))
    async with ScriptedServer(echo) as server:
        connection = await opened(server)
        assert connection.versions == server.versions
        bodies = [body + bytes([number]) for number in range(5)]
        answers = [connection.request(*kind, each, DEADLINE) for each in bodies]
        assert [await answer for answer in answers] == [client + each for each in bodies]
        connection.close()


async def test_frames_in_any_pieces() -> None:
    async with ScriptedServer() as server:
        connection = await opened(server)
        bodies = [bytes(size) for size in (0, 10, INBOX + 5, 3, INBOX - 8, 0)]
        answers = [connection.request(99, 0, b"", DEADLINE) for _ in bodies]
        frames = b"".join(
            struct.pack(">ii", 4 + len(body), number) + body
            for number, body in enumerate(bodies, 2)
        )
        for start in range(0, len(frames), 777):
            server.writers[0].write(frames[start : start + 777])
            await server.writers[0].drain()
            await asyncio.sleep(0)
        assert [await answer for answer in answers] == bodies
        connection.close()


async def test_timeout_closes_the_connection() -> None:
    async with ScriptedServer() as server:
        connection = await opened(server)
        ended: list[bool] = []
        connection.on_closed = lambda: ended.append(connection.closed)
        patient, other = (connection.request(99, 0, b"", 60) for _ in range(2))
        with pytest.raises(KafkaConnectionError, match="does not answer"):
            await connection.request(99, 0, b"", 0.05)
        for answer in (patient, other):
            with pytest.raises(KafkaConnectionError):
                await answer
        assert ended == [True]
        with pytest.raises(KafkaConnectionError, match="is closed"):
            await connection.request(99, 0, b"", 60)


async def test_cancelled_request_does_not_affect_others() -> None:
    async with ScriptedServer(echo) as server:
        connection = await opened(server)
        first, second = (
            connection.request(99, 0, bytes([number]), DEADLINE) for number in range(2)
        )
        first.cancel()
        assert (await second)[-1] == 1
        assert (await connection.request(99, 0, b"\x02", DEADLINE))[-1] == 2
        connection.close()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (struct.pack(">ii", 4, 7), "without a request"),
        (b"HTTP/1.1 400 Bad Request\r\n", "does not speak Kafka's protocol"),
        (struct.pack(">i", 3), "does not speak Kafka's protocol"),
        (b"\xff\xff\xff\xff", "does not speak Kafka's protocol"),
    ],
)
async def test_invalid_response_closes_the_connection(answer: bytes, reason: str) -> None:
    async with ScriptedServer() as server:
        connection = await opened(server)
        waiting = connection.request(99, 0, b"", DEADLINE)
        server.writers[0].write(answer)
        with pytest.raises(KafkaConnectionError, match=reason):
            await waiting
        assert connection.closed


async def test_reset_fails_pending_requests() -> None:
    async with ScriptedServer() as server:
        connection = await opened(server)
        waiting = connection.request(99, 0, b"", DEADLINE)
        server.writers[0].transport.abort()
        with pytest.raises(KafkaConnectionError, match="broke"):
            await waiting
        assert connection.closed


async def test_failed_requests_that_no_caller_awaits_are_not_reported_as_errors(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with ScriptedServer() as server:
        connection = await opened(server)
        first, second = (connection.request(99, 0, b"", DEADLINE) for _ in range(2))
        connection.close()
        with pytest.raises(KafkaConnectionError):
            await first
        del second
        gc.collect()
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


async def test_open_connection_times_out_on_a_silent_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(KafkaConnectionError, match=r"does not answer within 0\.2 s"):
            await open_connection({}, "127.0.0.1", port, 0.2)


async def test_all_addresses_of_a_name_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """KIP-302: the first address refuses, the second is silent, the third is a broker."""
    loop = asyncio.get_running_loop()
    async with ScriptedServer(echo) as server:
        with socket.create_server(("127.0.0.3", server.port)):
            addresses = ("127.0.0.2", "127.0.0.3", "127.0.0.1")

            async def resolve(host: str, port: int, **_: object) -> list[Any]:
                assert host == "kafka.example"
                return [(2, 1, 6, "", (address, port)) for address in addresses]

            with monkeypatch.context() as patched:
                patched.setattr(loop, "getaddrinfo", resolve)
                connection = await open_connection({}, "kafka.example", server.port, DEADLINE)
            assert (await connection.request(99, 0, b"\x05", DEADLINE))[-1] == 5
            connection.close()


async def test_open_connection_to_a_broker(broker: Broker) -> None:
    host, port = broker.bootstrap.split(":")
    connection = await open_connection({}, host, int(port), DEADLINE)
    assert {wire.FETCH, wire.LIST_OFFSETS, wire.METADATA} <= set(connection.versions)
    connection.close()


class SaslServer(ScriptedServer):
    """Accepts any login, for `lifetime_ms`, and echoes all other requests."""

    def __init__(self, lifetime_ms: int) -> None:
        super().__init__(self._answer, {17: (0, 1), 36: (0, 2), 99: (0, 0)})
        self.lifetime_ms = lifetime_ms
        self.refuses = False

    def _answer(self, request: Request) -> bytes | None:
        head = struct.pack(">i", request.correlation_id)
        if request.api_key == wire.SASL_HANDSHAKE:
            return head + struct.pack(">hi", 0, 1) + wire.string("PLAIN", flexible=False)
        if request.api_key == wire.SASL_AUTHENTICATE:
            code = SaslAuthenticationFailed.errno if self.refuses else 0
            return head + struct.pack(">hhiq", code, -1, 0, self.lifetime_ms)
        return echo(request)


LOGIN = {
    "security_protocol": "SASL_PLAINTEXT",
    "sasl_mechanism": "PLAIN",
    "sasl_plain_username": "me",
    "sasl_plain_password": "secret",
}


async def test_reauthentication_holds_other_requests_back() -> None:
    async with SaslServer(lifetime_ms=1200) as server:
        connection = await opened(server, **LOGIN)
        async with asyncio.timeout(DEADLINE):
            while server.count(wire.SASL_AUTHENTICATE) < 3:
                assert (await connection.request(99, 0, b"\x07", DEADLINE))[-1] == 7
        connection.close()
        keys = [request.api_key for request in server.requests]
        handshakes = [place for place, key in enumerate(keys) if key == wire.SASL_HANDSHAKE]
        assert all(keys[place + 1] == wire.SASL_AUTHENTICATE for place in handshakes)


async def test_request_of_a_late_event_loop_waits_for_reauthentication() -> None:
    async with SaslServer(lifetime_ms=1200) as server:
        connection = await opened(server, **LOGIN)
        time.sleep(LEAST_LOGIN_SECONDS + 0.01)  # noqa: ASYNC251 - the loop is held up
        assert (await connection.request(99, 0, b"\x07", DEADLINE))[-1] == 7
        connection.close()
        keys = [request.api_key for request in server.requests]
        assert keys[-3:] == [wire.SASL_HANDSHAKE, wire.SASL_AUTHENTICATE, 99]
        assert keys.count(wire.SASL_AUTHENTICATE) == 2


async def test_rejected_reauthentication_closes_the_connection() -> None:
    async with SaslServer(lifetime_ms=1200) as server:
        connection = await opened(server, **LOGIN)
        server.refuses = True
        ended = asyncio.Event()
        connection.on_closed = ended.set
        async with asyncio.timeout(DEADLINE):
            await ended.wait()


@pytest.mark.parametrize(
    "error",
    [
        OSError("no file"),
        TimeoutError(),
        ValueError("secret"),
        RuntimeError("secret"),
        asyncio.CancelledError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_reauthentication_that_raises_closes_the_connection(error: BaseException) -> None:
    fails = False

    def password() -> str:
        if fails:
            raise error
        return "secret"

    async with SaslServer(lifetime_ms=1200) as server:
        connection = await opened(server, **{**LOGIN, "sasl_plain_password": password})
        fails = True
        ended = asyncio.Event()
        connection.on_closed = ended.set
        waiting = connection.request(99, 0, b"", 60)
        server.answer = lambda request: None if request.api_key == 99 else echo(request)
        async with asyncio.timeout(DEADLINE):
            await ended.wait()
        with pytest.raises(KafkaConnectionError) as failure:
            await waiting
        assert "secret" not in str(failure.value)
        assert connection.closed


async def test_requests_that_wait_for_a_login_time_out() -> None:
    """The login of a connection may hang: a token source, or a Kerberos library in a thread."""
    async with SaslServer(lifetime_ms=1200) as server:
        connection = await opened(server, **LOGIN)
        begun = asyncio.Event()
        server.answer = lambda _: begun.set()
        async with asyncio.timeout(DEADLINE):
            await begun.wait()
        with pytest.raises(NotSentError, match="does not answer"):
            await connection.request(99, 0, b"", 0.1)
        assert connection.closed


@pytest.mark.parametrize(("host", "port"), [("kafka..example", 9092), ("127.0.0.1", 1 << 17)])
async def test_invalid_address_of_a_broker_raises_a_kafka_error(host: str, port: int) -> None:
    with pytest.raises(KafkaConnectionError, match="cannot be reached"):
        await open_connection({}, host, port, 2)


async def test_rejected_login_raises_its_own_error() -> None:
    async with SaslServer(lifetime_ms=0) as server:
        server.refuses = True
        with pytest.raises(SaslAuthenticationFailed):
            await opened(server, **LOGIN)
