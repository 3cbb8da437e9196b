from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from gateway.client import EventStreamDecoder, Interrupted, Opened, Received, follow
from gateway.errors import StreamRefused
from tests.child import free_port
from tests.sse import EventStreamParser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

LINES = st.lists(
    st.sampled_from(
        ["", "data: a", "data:b", "data", ": beat", "id: 1", "id", "id: \0", "event: x", "event",
         "retry: 20", "retry: x", "unknown: y", "data: \ufeff", "data: é\u2028"]
    ),
    max_size=30,
)  # fmt: skip


@given(
    lines=LINES,
    ends=st.lists(st.sampled_from(["\n", "\r", "\r\n"]), min_size=30, max_size=30),
    cuts=st.sets(st.integers(0, 400)),
    mark=st.booleans(),
)
def test_a_stream_is_read_as_a_browser_reads_it(
    lines: list[str], ends: list[str], cuts: set[int], mark: bool
) -> None:
    text = "\ufeff" * mark + "".join(line + end for line, end in zip(lines, ends, strict=False))
    data = text.encode()
    parser, decoder = EventStreamParser(), EventStreamDecoder()
    # A CR at the end of all waits for what follows, in the decoder only.
    expected = parser.feed(data + b":\n")
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    events = []
    for begin, end in pairwise(places):
        events += decoder.feed(data[begin:end])
    events += decoder.feed(b":\n")
    assert [event[:3] for event in events] == [tuple(event) for event in expected]
    assert decoder.last_event_id == parser.last_event_id
    assert decoder.retry_seconds == (3.0 if parser.retry is None else parser.retry / 1000)


def test_an_event_tells_the_id_before_it() -> None:
    decoder = EventStreamDecoder("0")
    events = decoder.feed(b"id: 1\n\ndata: a\nid: 2\n\ndata: b\nid: 3\n\n")
    assert events == [Received("message", "a", "2", "1"), Received("message", "b", "3", "2")]


def test_a_connection_leaves_nothing_unfinished_to_the_next() -> None:
    decoder = EventStreamDecoder()
    assert decoder.feed(b"id: 1\n\nevent: x\nid: 2\ndata: a") == []
    decoder.connected()
    assert decoder.feed(b"data: b\n\n") == [Received("message", "b", "1", "1")]


@asynccontextmanager
async def serving(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/events", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/events"
    finally:
        await runner.cleanup()


async def happenings(url: str, count: int) -> list[Opened | Received | Interrupted]:
    found = []
    async with aclosing(follow(url, lambda: "token", {"categories": "ai"})) as stream:
        async with asyncio.timeout(10):
            async for happening in stream:
                found.append(happening)
                if len(found) == count:
                    break
    return found


async def test_a_client_comes_back_with_its_id_as_soon_as_the_server_says() -> None:
    requests = []

    async def serve(request: web.Request) -> web.StreamResponse:
        requests.append(request)
        text = f"retry: 10\nid: {len(requests)}\ndata: {request.headers.get('Last-Event-ID')}\n\n"
        return web.Response(text=text, content_type="text/event-stream")

    async with serving(serve) as url:
        found = await happenings(url, 5)
    assert found == [
        Opened(resumed=False),
        Received("message", "None", "1", ""),
        Interrupted("the server ended the stream", 0.01),
        Opened(resumed=True),
        Received("message", "1", "2", "1"),
    ]
    assert requests[0].headers["Authorization"] == "Bearer token"
    assert requests[0].query == {"categories": "ai"}


@pytest.mark.parametrize(("status", "text"), [(401, "401 No: go away"), (404, "404 No: go away")])
async def test_an_answer_that_is_final_ends_it(status: int, text: str) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        return web.json_response({"title": "No", "detail": "go away"}, status=status)

    async with serving(serve) as url:
        with pytest.raises(StreamRefused, match=text):
            await happenings(url, 1)


async def test_a_server_that_is_busy_is_given_the_time_that_it_asks_for() -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503, headers={"Retry-After": "7"}, text="busy")

    async with serving(serve) as url:
        assert await happenings(url, 1) == [Interrupted("503 Service Unavailable", 7)]


async def test_a_server_that_is_away_is_named() -> None:
    port = free_port()
    [found] = await happenings(f"http://127.0.0.1:{port}/events", 1)
    assert found == Interrupted(f"cannot connect to 127.0.0.1:{port}", 3.0)


async def test_what_is_no_url_is_refused() -> None:
    with pytest.raises(StreamRefused, match="is no URL"):
        await happenings("http://", 1)
