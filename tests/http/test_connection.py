from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp.compression_utils import ZLibDecompressor
from aiohttp.web_protocol import RequestHandler

from gateway import clock
from gateway.core import frame
from gateway.core.gap import CloseReason
from gateway.core.stream import State
from gateway.http.transport import connection
from gateway.http.transport.http_handler import MAX_BODY_BYTES, PIECE_BYTES
from tests.eventually import eventually
from tests.http.raw_client import GREETING, RawClient, connected
from tests.http.served import Served
from tests.records import TYPE
from tests.sse import EventStreamParser
from tests.tokens import mint

MANY = 300
PAYLOADS = [b'"%d %s"' % (number, b"x" * 2000) for number in range(MANY)]
"""Far more than the sockets' buffers and the transport's mark take, so that a stream is stuck."""


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Callable[[], None]:
    """A check that nothing was logged at WARNING or above."""

    def check() -> None:
        loud = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert [record.getMessage() for record in loud] == []

    return check


async def until_state(served: Served, state: State) -> None:
    await eventually(f"the stream is {state}", lambda: served.stream.state is state)


async def round_trip(served: Served) -> None:
    """Return when the server has read everything that its sockets had received before the call."""
    async with connected(served.port) as other:
        await other.send(A_REQUEST)
        await other.response()


async def payloads_of(client: RawClient, count: int) -> list[str]:
    """Read chunks until that many events have come."""
    parser, events = EventStreamParser(), 0
    received = []
    while events < count:
        for event in parser.feed(await client.chunk()):
            received.append(event.data)
            events += 1
    return received


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


A_REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


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


def finish(client: RawClient) -> None:
    client.finish()


def close(client: RawClient) -> None:
    client.close()


def reset(client: RawClient) -> None:
    client.reset()


WAYS = pytest.mark.parametrize("way", [finish, close, reset])


@WAYS
async def test_client_that_disconnects_during_the_lookup_leaves_no_stream(
    served: Served, client: RawClient, way: Callable[[RawClient], None], quiet: Callable[[], None]
) -> None:
    served.let_through.clear()
    await client.request("/api/v1/events", token=mint("alice"))
    await eventually("the handler waits", lambda: served.asking == 1)
    way(client)
    await round_trip(served)
    served.let_through.set()
    await eventually("the handler has ended", lambda: served.connections == 0)
    assert served.asking == 0
    await served.until_open(0)
    assert served.feed.streams == 0
    quiet()


async def test_a_half_closed_client_gets_the_first_bytes_of_a_stream_that_had_to_wait(
    served: Served, client: RawClient
) -> None:
    served.let_through.clear()
    await client.request("/api/v1/events", token=mint("alice"))
    client.finish()
    await round_trip(served)
    served.let_through.set()
    assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")
    assert GREETING.match(await client.chunk())
    await served.until_open(0)


@pytest.mark.parametrize(
    ("target", "status"), [("/", b"200"), ("/api/v1/events", b"401"), ("/nowhere", b"404")]
)
async def test_a_half_closed_client_gets_its_answer(
    served: Served, client: RawClient, target: str, status: bytes
) -> None:
    await client.request(target)
    client.finish()
    assert (await client.rest()).split()[1] == status


async def test_a_half_closed_client_without_a_request_is_closed(
    served: Served, client: RawClient
) -> None:
    await client.send(b"GET / HTTP/1.1\r\nHost:")
    client.finish()
    assert await client.rest() == b""


@WAYS
async def test_a_client_that_leaves_at_once_leaves_no_stream_behind(
    served: Served, client: RawClient, way: Callable[[RawClient], None], quiet: Callable[[], None]
) -> None:
    await client.request("/api/v1/events", token=mint("alice"))
    way(client)
    async with connected(served.port) as other:
        await served.open(other)
        await served.until_open(1)
    quiet()


@WAYS
async def test_a_stream_ends_with_its_client(
    served: Served, client: RawClient, way: Callable[[RawClient], None], quiet: Callable[[], None]
) -> None:
    await served.open(client)
    stream = served.stream
    way(client)
    await served.until_open(0)
    assert stream.state is State.CLOSED
    assert served.feed.streams == 0
    served.publish(b"1")
    quiet()


async def test_events_written_while_a_client_resets_its_connection_do_no_harm(
    served: Served, client: RawClient, quiet: Callable[[], None]
) -> None:
    await served.open(client)
    client.reset()
    for _ in range(20):
        served.publish(b"1")
        await asyncio.sleep(0)
    await served.until_open(0)
    quiet()


async def test_what_is_written_to_a_connection_that_has_broken_fills_no_log(
    served: Served, client: RawClient, quiet: Callable[[], None]
) -> None:
    await served.open(client)
    client.reset()
    await asyncio.sleep(0)  # the RST has arrived, and the loop has not polled yet
    for _ in range(20):
        served.publish(b"1")
    await served.until_open(0)
    quiet()


async def test_client_that_stops_reading_is_stuck_and_gets_each_event_once_when_it_resumes(
    served: Served, client: RawClient
) -> None:
    await served.open(client)
    for payload in PAYLOADS[:200]:
        served.publish(payload)
    await until_state(served, State.STUCK)
    written = served.stream.sent
    assert 0 < written < 200, "nothing more is written to a transport that is full"
    for payload in PAYLOADS[200:]:
        served.publish(payload)
    assert served.stream.sent == written

    received = await payloads_of(client, MANY)

    assert received == [payload.decode() for payload in PAYLOADS]
    await until_state(served, State.LIVE)
    served.publish(b'"last"')
    assert await payloads_of(client, 1) == ['"last"']


async def test_a_client_may_stop_reading_many_times(served: Served, client: RawClient) -> None:
    await served.open(client)
    received = []
    for begin in range(0, MANY, 100):
        served.publish(*PAYLOADS[begin : begin + 100])
        await until_state(served, State.STUCK)
        received += await payloads_of(client, 100)
    assert received == [payload.decode() for payload in PAYLOADS]


async def test_a_slow_client_that_is_ended_may_still_read_all_that_was_written_to_it(
    served: Served, client: RawClient, monkeypatch: pytest.MonkeyPatch, quiet: Callable[[], None]
) -> None:
    await served.open(client)
    served.publish(*PAYLOADS[:100])
    await until_state(served, State.STUCK)
    loop = asyncio.get_running_loop()
    original, limits = loop.call_later, []

    def call_later(delay: float, callback: Any, *args: Any, **options: Any) -> asyncio.TimerHandle:
        handle = original(delay, callback, *args, **options)
        if delay == connection.FLUSH_SECONDS:
            limits.append((handle, callback))
        return handle

    monkeypatch.setattr(loop, "call_later", call_later)
    served.hub.close(served.stream, CloseReason.SLOW, clock.now())

    assert await payloads_of(client, 100) == [payload.decode() for payload in PAYLOADS[:100]]
    goodbye = frame.chunk(frame.close(CloseReason.SLOW)) + frame.LAST_CHUNK
    assert await client.rest() == goodbye
    await served.until_open(0)
    [(limit, cut)] = limits
    if not limit.cancelled():
        cut()  # the time limit of a connection that is already closed
    quiet()


async def test_a_client_that_never_reads_is_cut_off(
    served: Served, client: RawClient, monkeypatch: pytest.MonkeyPatch, quiet: Callable[[], None]
) -> None:
    await served.open(client)
    served.publish(*PAYLOADS[:100])
    await until_state(served, State.STUCK)
    monkeypatch.setattr(connection, "FLUSH_SECONDS", 0.1)
    served.hub.close(served.stream, CloseReason.SLOW, clock.now())

    await asyncio.sleep(0.2)  # its time limit expires
    rest = await client.rest()

    assert not rest.endswith(frame.LAST_CHUNK)
    assert len(rest) < sum(map(len, PAYLOADS[:100]))
    quiet()


async def test_a_stream_that_stays_stuck_is_ended_by_the_clock(
    served: Served, client: RawClient
) -> None:
    await served.open(client)
    served.publish(*PAYLOADS[:100])
    await until_state(served, State.STUCK)
    now = clock.now()
    served.hub.tick(now._replace(monotonic=now.monotonic + 29))
    assert served.stream.state is State.STUCK
    served.hub.tick(now._replace(monotonic=now.monotonic + 31))
    assert len(served.hub.streams) == 0
    await payloads_of(client, 100)
    assert b'{"reason":"slow"}' in await client.rest()
