from __future__ import annotations

import asyncio
import ssl
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress

import pytest

from gateway import clock
from gateway.core import frame
from gateway.core.gap import CloseReason
from gateway.core.stream import State
from gateway.http.transport import entrance
from gateway.http.transport.handshakes import PIECES_PER_TURN, READ_BYTES
from gateway.http.transport.opening_quota import OPENINGS_PER_TURN
from gateway.http.transport.tls import Certificate
from tests.eventually import DEADLINE, eventually
from tests.http.certificates import Files
from tests.http.raw_client import GREETING, connected
from tests.http.served import Served, Turns, serving
from tests.sse import EventStreamParser
from tests.tokens import mint

PAYLOADS = [b'"%d %s"' % (number, b"x" * 2000) for number in range(300)]


@pytest.fixture
async def served(certificate: Certificate) -> AsyncIterator[Served]:
    async with serving(certificate.context) as it:
        yield it


async def until_stuck(served: Served) -> None:
    await eventually("the stream is stuck", lambda: served.stream.state is State.STUCK)


async def test_a_stream_is_framed_and_ended_as_it_is_without_tls(
    served: Served, files: Files
) -> None:
    async with connected(served.port, files.client) as client:
        await served.open(client)
        assert served.connections <= 1
        served.publish(b"1")
        assert (await client.chunk()).endswith(b"data: 1\n\n")
        served.hub.close(served.stream, CloseReason.CLOSED, clock.now())
        goodbye = frame.chunk(frame.close(CloseReason.CLOSED)) + frame.LAST_CHUNK
        assert await client.rest() == goodbye


async def test_no_task_is_left_for_an_open_stream(served: Served, files: Files) -> None:
    async with connected(served.port, files.client) as client:
        before = asyncio.all_tasks()
        await served.open(client)
        await eventually(
            "nothing but the stream is left",
            lambda: served.connections == 0 and not asyncio.all_tasks() - before,
        )


async def test_a_stream_opens_before_aiohttp_hears_of_its_connection(
    served: Served, files: Files
) -> None:
    async with connected(served.port, files.client) as client:
        await served.open(client)
        assert (served.requests, served.connections) == (0, 0)
        served.publish(b"1")
        assert b"data: 1\n" in await client.chunk()


async def test_a_request_in_pieces_opens_the_same_stream(served: Served, files: Files) -> None:
    async with connected(served.port, files.client) as client:
        head = f"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {mint('alice')}"
        await client.send(head[:40].encode())
        await eventually("aiohttp has the connection", lambda: served.connections == 1)
        await client.send(f"{head[40:]}\r\n\r\n".encode())
        assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")
        assert GREETING.match(await client.chunk())


@pytest.mark.parametrize(
    ("target", "status"), [("/api/v1/events", 401), ("/api/v1/eventsX", 404), ("/", 200)]
)
async def test_other_requests_get_the_answer_of_aiohttp(
    served: Served, files: Files, target: str, status: int
) -> None:
    async with connected(served.port, files.client) as client:
        await client.request(target)
        assert (await client.head()).startswith(b"HTTP/1.1 %d " % status)
        assert served.requests == 1


async def test_many_requests_at_once_open_within_the_quota_of_a_turn(
    served: Served, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entrance, "SILENT_SECONDS", DEADLINE)
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(connected(served.port, files.client)) for _ in range(30)
        ]
        async with Turns(served).counted() as turns:
            for number, client in enumerate(clients):
                await client.request("/api/v1/events", token=mint(f"user-{number}"))
            await served.until_open(30)
    assert served.requests == 0, "each waits for its turn, without aiohttp"
    assert sum(turns.openings) == 30
    assert max(turns.openings) <= 2 * OPENINGS_PER_TURN


class Counted(ssl.SSLObject):
    """Counts the steps of all handshakes."""

    steps = 0

    def do_handshake(self) -> None:
        Counted.steps += 1
        super().do_handshake()


async def test_hellos_that_end_at_the_same_time_are_answered_in_many_turns(
    certificate: Certificate, files: Files
) -> None:
    count, per_turn = 30, [0]
    certificate.context.sslobject_class = Counted
    Counted.steps = 0
    loop, outgoing = asyncio.get_running_loop(), ssl.MemoryBIO()
    client = files.client.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="127.0.0.1")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()

    def turn() -> None:
        steps, Counted.steps = Counted.steps, 0
        per_turn.append(steps)
        loop.call_soon(turn)

    async with serving(certificate.context) as served:
        clients = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(count)]
        for _, writer in clients:
            writer.write(hello[:-1])
        # Each begins with a step without data.
        await eventually("all hellos but their ends are read", lambda: Counted.steps == 2 * count)
        Counted.steps = 0
        turn()
        for _, writer in clients:
            writer.write(hello[-1:])
        for reader, writer in clients:
            assert await reader.read(1) == b"\x16", "the server's hello"
            writer.transport.abort()
    assert sum(per_turn) == count
    assert max(per_turn) <= 2 * PIECES_PER_TURN


async def test_connection_has_a_small_buffer(served: Served, certificate: Certificate) -> None:
    count = 20
    certificate.context.sslobject_class = Counted
    Counted.steps = 0
    tracemalloc.start()
    try:
        clients = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(count)]
        before, _ = tracemalloc.get_traced_memory()
        for _, writer in clients:
            writer.write(b"\x16")
        await eventually("all handshakes have begun", lambda: Counted.steps == 2 * count)
        after, _ = tracemalloc.get_traced_memory()
        for _, writer in clients:
            writer.transport.abort()
    finally:
        tracemalloc.stop()
    assert after - before < count * 4 * READ_BYTES


async def test_client_that_leaves_in_its_hello_leaves_nothing(
    served: Served, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    before = asyncio.all_tasks()
    for data in (b"\x16", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(data)
        writer.write_eof()
        await reader.read()
        writer.transport.abort()
    await eventually("all tasks have ended", lambda: not asyncio.all_tasks() - before)
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []


async def test_a_silent_connection_becomes_one_of_aiohttp(
    served: Served, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entrance, "SILENT_SECONDS", 0.05)
    async with connected(served.port, files.client) as client:
        await eventually("aiohttp has the connection", lambda: served.connections == 1)
        await served.open(client)


async def test_clients_that_leave_without_a_request_leave_nothing(
    served: Served, files: Files
) -> None:
    before = asyncio.all_tasks()
    async with connected(served.port, files.client):
        pass
    await eventually("all tasks have ended", lambda: not asyncio.all_tasks() - before)
    assert served.connections == 0


async def test_silent_connections_are_aborted_at_the_end(certificate: Certificate) -> None:
    async with serving(certificate.context) as served:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        client = await asyncio.open_connection("127.0.0.1", served.port, ssl=context)
    assert await client[0].read() == b""
    client[1].transport.abort()


@pytest.mark.parametrize("way", ["close", "reset"])
async def test_a_stream_ends_with_its_client(
    served: Served, files: Files, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(served.port, files.client) as client:
        await served.open(client)
        if way == "close":
            client.close()
        else:
            client.reset()
        await served.until_open(0)
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []


async def test_client_that_stops_reading_gets_each_event_once_when_it_resumes(
    served: Served, files: Files
) -> None:
    async with connected(served.port, files.client) as client:
        await served.open(client)
        for payload in PAYLOADS:
            served.publish(payload)
        await until_stuck(served)
        assert served.stream.sent < 150, "asyncio's own mark would let through twice as many"
        parser = EventStreamParser()
        received: list[str] = []
        while len(received) < len(PAYLOADS):
            received += [event.data for event in parser.feed(await client.chunk())]
        assert received == [payload.decode() for payload in PAYLOADS]


async def test_a_client_that_never_reads_is_cut_off(
    served: Served, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(served.port, files.client) as client:
        await served.open(client)
        served.publish(*PAYLOADS)  # one write, more than the client's side holds unread
        for payload in PAYLOADS:
            served.publish(payload)
        await until_stuck(served)
        monkeypatch.setattr("gateway.http.transport.connection.FLUSH_SECONDS", 0.1)
        served.hub.close(served.stream, CloseReason.SLOW, clock.now())
        await asyncio.sleep(0.2)  # its time limit expires
        assert not (await client.rest()).endswith(frame.LAST_CHUNK)


async def test_client_without_tls_is_rejected_without_a_log_line(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(served.port) as client:
        await client.request("/")
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await client.head()
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []
