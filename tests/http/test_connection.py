from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest
from aiohttp.compression_utils import ZLibDecompressor
from aiohttp.web_protocol import RequestHandler

from gateway import clock
from gateway.core import frame
from gateway.core.gap import CloseReason
from gateway.http.transport.http_handler import MAX_BODY_BYTES, PIECE_BYTES
from tests.eventually import eventually
from tests.http.raw_client import A_REQUEST, GREETING, RawClient, connected
from tests.http.served import Served
from tests.records import TYPE
from tests.tokens import mint


def body(payload: bytes) -> bytes:
    return frame.event_body(TYPE, payload)


async def test_every_event_is_one_chunk_and_the_first_has_the_head_before_it(
    served: Served, client: RawClient
) -> None:
    await client.request("/api/v1/events", token=mint("alice"))
    head = await client.head()
    first = await client.chunk()
    served.publish(b"1", b"2")
    second, third = await client.chunk(), await client.chunk()

    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 200 OK"
    assert [line.partition(":")[0] for line in lines[1:-2]] == [
        "Content-Type", "Cache-Control", "Connection", "X-Accel-Buffering", "Incremental",
        "Transfer-Encoding", "Date", "X-Content-Type-Options", "Referrer-Policy", "X-Request-Id",
    ]  # fmt: skip
    assert "Transfer-Encoding: chunked" in lines
    assert "Connection: keep-alive" in lines
    assert GREETING.match(first)
    assert first.endswith(b"\n\n")
    assert second.count(b"id: ") == 1
    assert second.endswith(body(b"1"))
    assert third.endswith(body(b"2"))


async def test_http_1_0_gets_the_same_bytes_without_chunks_up_to_the_end_of_the_connection(
    served: Served, client: RawClient
) -> None:
    await client.request("/api/v1/events", version="1.0", token=mint("alice"))
    head = await client.head()
    await served.until_open(1)
    served.publish(b"1")
    served.hub.close(served.stream, CloseReason.CLOSED, clock.now())
    rest = await client.rest()

    assert b"Transfer-Encoding" not in head
    assert b"Connection: close\r\n" in head
    assert GREETING.match(rest)
    assert rest.endswith(body(b"1") + frame.close(CloseReason.CLOSED))


async def test_a_stream_that_is_ended_says_goodbye_and_then_ends_the_response(
    served: Served, client: RawClient
) -> None:
    await served.open(client)
    served.hub.close(served.stream, CloseReason.DRAINING, clock.now(), 1234)

    assert (
        await client.rest()
        == frame.chunk(frame.close(CloseReason.DRAINING, 1234)) + frame.LAST_CHUNK
    )


async def test_the_server_keeps_no_task_and_no_connection_for_an_open_stream(
    served: Served,
) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(served.port)) for _ in range(20)]
        before = asyncio.all_tasks()
        for client in clients:
            await served.open(client)
        await eventually(
            "nothing but the streams is left",
            lambda: served.connections == 0 and not asyncio.all_tasks() - before,
        )
        assert len(served.hub.streams) == 20
        served.publish(b"1")
        for client in clients:
            assert (await client.chunk()).endswith(body(b"1"))


@pytest.mark.parametrize("behind", [b"\r\n\r\n", A_REQUEST, A_REQUEST * 100])
async def test_bytes_after_the_request_in_its_packet_are_ignored(
    served: Served, client: RawClient, behind: bytes, quiet: Callable[[], None]
) -> None:
    await served.open(client, behind=behind)
    served.publish(b"1")
    assert (await client.chunk()).endswith(body(b"1"))
    served.hub.close(served.stream, CloseReason.CLOSED, clock.now())
    assert await client.rest() == frame.chunk(frame.close(CloseReason.CLOSED)) + frame.LAST_CHUNK
    quiet()


@pytest.mark.parametrize("later", [b"more", A_REQUEST, b"\x00\xff" * 100_000])
async def test_what_a_client_sends_while_its_stream_is_open_is_ignored(
    served: Served, client: RawClient, later: bytes, quiet: Callable[[], None]
) -> None:
    await served.open(client)
    await client.send(later)
    served.publish(b"1")
    assert (await client.chunk()).endswith(body(b"1"))
    quiet()


async def test_a_stream_can_follow_other_requests_on_the_same_connection(
    served: Served, client: RawClient
) -> None:
    await client.send(A_REQUEST * 2)
    for _ in range(2):
        await client.response()
    await served.open(client)
    served.publish(b"1")
    assert (await client.chunk()).endswith(body(b"1"))


async def test_request_with_a_missing_body_opens_a_stream(
    served: Served, client: RawClient, quiet: Callable[[], None]
) -> None:
    await served.open(client, headers={"Content-Length": "50"}, behind=b"half of it")
    served.publish(b"1")
    assert (await client.chunk()).endswith(body(b"1"))
    quiet()


@pytest.mark.parametrize("path", ["/api/v1/events", "/api/v1/nothing"])
async def test_the_body_of_a_request_is_not_decompressed(
    client: RawClient, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 MB may stand for 1 GB; aiohttp reads the rest of a body behind its answer."""
    decompressed = []

    def decompress(_: object, data: bytes, **__: object) -> bytes:
        decompressed.append(data)
        raise zlib.error

    monkeypatch.setattr(ZLibDecompressor, "decompress_sync", decompress)
    headers = {"Content-Encoding": "gzip", "Content-Length": "5"}
    await client.request(path, method="POST", headers=headers, behind=b"hello")
    await client.response()
    await client.send(A_REQUEST)
    await client.response()
    assert not decompressed


@pytest.mark.parametrize(
    ("headers", "body", "parsed"),
    [
        ({"Transfer-Encoding": "chunked"}, b"1\r\na\r\n" * 20_000, 0),
        ({"Content-Length": "99999999"}, b"a" * 200_000, MAX_BODY_BYTES),
    ],
    ids=["chunks", "length"],
)
async def test_the_rest_of_a_large_body_is_dropped_unparsed(
    client: RawClient,
    headers: dict[str, str],
    body: bytes,
    parsed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Chunks of one byte cost 8 µs each, and a connection may send 40,000 of them in one turn."""
    sizes = []
    receive = RequestHandler.data_received

    def counted(handler: RequestHandler, data: bytes) -> None:
        sizes.append(len(data))
        receive(handler, data)

    monkeypatch.setattr(RequestHandler, "data_received", counted)
    await client.request("/api/v1/nothing", method="POST", headers=headers, behind=body)
    assert b" 404 " in await client.head()
    await client.rest()
    assert max(sizes) <= PIECE_BYTES
    assert sum(sizes) <= parsed + 2 * PIECE_BYTES


async def test_a_small_body_leaves_the_connection_open(client: RawClient) -> None:
    for _ in range(3):
        headers = {"Content-Length": "4000"}
        await client.request("/api/v1/nothing", method="POST", headers=headers, behind=b"a" * 4000)
        assert b" 404 " in await client.response()
