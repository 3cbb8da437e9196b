from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from gateway.http import door
from tests.http.raw_client import connected
from tests.http.served import Served, serving
from tests.http.test_gate import rejects
from tests.tokens import mint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REQUEST = b"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n\r\n"


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as it:
        yield it


def request() -> bytes:
    return REQUEST % mint("alice").encode()


async def test_a_plain_request_opens_its_stream_before_aiohttp_hears_of_it(served: Served) -> None:
    async with connected(served.port) as client:
        await served.open(client)
        assert served.requests == 0
        served.publish(b"1")
        assert b"data: 1\n" in await client.chunk()


@pytest.mark.parametrize("cut", [1, 20, len(REQUEST) // 2, -1])
async def test_a_request_that_comes_in_pieces_opens_the_same_stream(
    served: Served, cut: int
) -> None:
    async with connected(served.port) as client:
        await client.send(request()[:cut])
        await asyncio.sleep(0.01)  # so that they are two packets, most of the time
        await client.send(request()[cut:])
        assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")
        assert (await client.chunk()).startswith(b"retry: 3000\nid: 1u")


@pytest.mark.parametrize("body", [b"0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n", b"3\r\nab"])
async def test_a_request_with_a_body_in_its_first_packet_opens_the_same_stream(
    served: Served, body: bytes
) -> None:
    async with connected(served.port) as client:
        head = request().replace(b"Host: x", b"Host: x\r\nTransfer-Encoding: chunked")
        await client.send(head + body)
        assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")
        assert (await client.chunk()).startswith(b"retry: 3000\nid: 1u")
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
async def test_who_is_refused_is_refused_by_aiohttp_and_counted_once(
    served: Served, head: bytes, status: int
) -> None:
    async with connected(served.port) as client:
        await client.send(head)
        assert (await client.head()).partition(b" ")[2].startswith(b"%d " % status)
        assert sum(rejects(served).values()) == 1
    assert served.hub.openings == []


async def test_many_who_come_at_once_are_all_let_in(served: Served) -> None:
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
    monkeypatch.setattr(door, "FULL_SECONDS", 0.05)
    async with connected(served.port) as client:
        await served.open(client)
    assert errors == []
