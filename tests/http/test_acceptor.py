from __future__ import annotations

import asyncio
import errno
import json
import resource
import socket
from collections import Counter
from contextlib import AsyncExitStack, ExitStack, suppress

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from gateway.http import request_reader
from gateway.http.transport import acceptor, malformed
from gateway.http.transport.new_connections import NewConnections
from tests.eventually import DEADLINE, eventually
from tests.http.raw_client import GREETING, connected
from tests.http.served import Served
from tests.http.test_admission import rejects
from tests.tokens import mint

ACCEPT_PAUSED = "accept paused: out of file descriptors; raise ulimit -n"

REQUEST = b"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n\r\n"


def request() -> bytes:
    return REQUEST % mint("alice").encode()


async def accept_from(listening: socket.socket) -> web.ServerRunner:
    """Accept connections for a server that answers nothing; return its runner."""
    runner = web.ServerRunner(web.Server(lambda _: web.Response()))  # type: ignore[arg-type, return-value]
    await runner.setup()
    await acceptor.Acceptor(runner, listening, None).start()
    return runner


async def test_a_plain_request_opens_its_stream_before_aiohttp_hears_of_it(served: Served) -> None:
    async with connected(served.port) as client:
        await served.open(client)
        assert served.requests == 0
        served.publish(b"1")
        assert b"data: 1\n" in await client.chunk()


async def test_a_turn_of_the_event_loop_accepts_few_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    turn, accepted = 0, Counter[int]()

    def pass_on(_: object, sock: socket.socket) -> None:
        accepted[turn] += 1
        sock.close()

    def count() -> None:
        nonlocal turn
        turn += 1
        loop.call_soon(count)

    monkeypatch.setattr(NewConnections, "pass_on", pass_on)
    with socket.create_server(("127.0.0.1", 0)) as listening, ExitStack() as stack:
        for _ in range(40):
            client = stack.enter_context(socket.create_connection(listening.getsockname()))
            client.send(b"\x16")
        runner = await accept_from(listening)
        count()
        await eventually("all connections are accepted", lambda: sum(accepted.values()) == 40)
        await runner.cleanup()
    assert max(accepted.values()) == acceptor.ACCEPTED_PER_TURN
    assert len(accepted) >= 40 // acceptor.ACCEPTED_PER_TURN


async def test_clients_in_quick_succession_are_accepted_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    turn, turns = 0, Counter[int]()

    def pass_on(_: object, sock: socket.socket) -> None:
        turns[turn] += 1
        sock.close()

    monkeypatch.setattr(acceptor, "GATHER_SECONDS", 0.3)
    monkeypatch.setattr(NewConnections, "pass_on", pass_on)

    def count() -> None:
        nonlocal turn
        turn += 1
        loop.call_soon(count)

    with socket.create_server(("127.0.0.1", 0)) as listening, ExitStack() as stack:

        def connect() -> None:
            client = stack.enter_context(socket.create_connection(listening.getsockname()))
            client.send(b"x")

        connect()
        connect()
        runner = await accept_from(listening)
        count()
        await eventually("the first two are accepted", lambda: turns.total() == 2)
        for _ in range(12):
            connect()
            await asyncio.sleep(0.001)
        await eventually("all are accepted", lambda: turns.total() == 14)
        await runner.cleanup()
    assert len(turns) <= 7, turns


@pytest.mark.parametrize("cut", [1, 20, len(REQUEST) // 2, -1])
async def test_a_request_that_comes_in_pieces_opens_the_same_stream(
    served: Served, cut: int
) -> None:
    async with connected(served.port) as client:
        await client.send(request()[:cut])
        await asyncio.sleep(0.01)  # so that they are two packets, most of the time
        await client.send(request()[cut:])
        assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")
        assert GREETING.match(await client.chunk())


@pytest.mark.parametrize("body", [b"0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n", b"3\r\nab"])
async def test_a_request_with_a_body_in_its_first_packet_opens_the_same_stream(
    served: Served, body: bytes
) -> None:
    async with connected(served.port) as client:
        head = request().replace(b"Host: x", b"Host: x\r\nTransfer-Encoding: chunked")
        await client.send(head + body)
        assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")
        assert GREETING.match(await client.chunk())
        assert served.requests == 1


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /api/v1/events HTTP/1.1\r\nHost: x\r\n\r\n", 401),
        (b"GET /api/v1/eventsX HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /api/v1/events?since=never HTTP/1.1\r\nHost: x\r\n\r\n", 401),
        (b"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405),
        (b"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nBad Header: 1\r\n\r\n", 400),
        (b"GET /api/v1/events HTTP/9.9\r\nHost: x\r\n\r\n", 400),
    ],
)
async def test_rejected_request_is_answered_by_aiohttp_and_counted_once(
    served: Served, head: bytes, status: int
) -> None:
    async with connected(served.port) as client:
        await client.send(head)
        assert (await client.head()).partition(b" ")[2].startswith(b"%d " % status)
        assert sum(rejects(served).values()) == 1
    assert served.hub.openings == []


async def test_many_simultaneous_connections_are_all_accepted(served: Served) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(served.port)) for _ in range(20)]
        for number, client in enumerate(clients):
            await client.request("/api/v1/events", token=mint(f"user-{number}"))
        for client in clients:
            assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")
        await served.until_open(20)


async def test_a_process_with_all_its_files_open_takes_others_a_moment_later(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = socket.socket.accept
    errors = [OSError(errno.EMFILE, "Too many open files")]

    def first_fail(listening: socket.socket) -> tuple[socket.socket, object]:
        if errors:
            raise errors.pop()
        return accept(listening)

    monkeypatch.setattr(socket.socket, "accept", first_fail)
    monkeypatch.setattr(acceptor, "FULL_SECONDS", 0.05)
    async with connected(served.port) as client:
        await served.open(client)
    assert errors == []


async def test_some_files_stay_free_for_everything_else(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accepting pauses at the limit of files for clients, with one log line."""
    assert acceptor.files_for_clients() < resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    monkeypatch.setattr(acceptor, "FULL_SECONDS", 0.01)
    with capture_logs() as lines:
        async with connected(served.port) as client:
            await served.open(client)
            with monkeypatch.context() as patched:
                patched.setattr(acceptor, "files_for_clients", lambda: 0)
                for _ in range(5):
                    async with connected(served.port) as other:
                        with suppress(ConnectionError):
                            await other.send(request())
                            assert await other.rest() == b""
                served.publish(b"1")
                assert b"data: 1\n" in await client.chunk()
            async with connected(served.port) as other:
                await served.open(other)
    assert [line["event"] for line in lines].count(ACCEPT_PAUSED) == 1


async def test_a_defect_costs_the_request_that_meets_it(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(malformed, "TRACEBACK_SECONDS", DEADLINE)
    async with connected(served.port) as stream, connected(served.port) as client:
        await served.open(stream)
        with monkeypatch.context() as patched:
            patched.setattr(request_reader, "read_opening", lambda *_: 1 / 0)
            for _ in range(3):
                async with connected(served.port) as unlucky:
                    await unlucky.send(request())
                    head, _, body = (await unlucky.response()).partition(b"\r\n\r\n")
                    assert head.startswith(b"HTTP/1.1 500 ")
                    assert b"Content-Type: application/problem+json" in head
                    assert json.loads(body)["request_id"].encode() in head
                    assert b"ZeroDivisionError" not in body
        assert rejects(served) == {"internal_error": 3}
        tracebacks = [r for r in caplog.records if r.getMessage().startswith("Error handling")]
        assert len(tracebacks) == 1
        await served.open(client)
        served.publish(b"1")
        assert b"data: 1\n" in await stream.chunk()
