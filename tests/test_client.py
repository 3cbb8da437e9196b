"""The Python client against servers that do what a worker rarely does."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from gateway.client import (
    Close,
    Delivery,
    Event,
    EventStream,
    IdFile,
    Interrupted,
    NotAStream,
    Opened,
    RequestRefused,
    StreamRefused,
    TokenRefused,
)
from tests.child import free_port
from tests.eventually import DEADLINE, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from gateway.client import Item

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

FAST = "retry: 0\n"


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/events", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/events"
    finally:
        await runner.cleanup()


def stream_of(text: str) -> web.Response:
    return web.Response(text=text, content_type="text/event-stream")


async def items(stream: EventStream, count: int) -> list[Item]:
    async with asyncio.timeout(DEADLINE):
        return [await anext(stream) for _ in range(count)]


async def test_client_reconnects_with_its_id_after_the_retry_time() -> None:
    requests = []

    async def serve(request: web.Request) -> web.StreamResponse:
        requests.append(request)
        said = request.headers.get("Last-Event-ID")
        return stream_of(f"{FAST}id: {len(requests)}\ndata: {said}\n\n")

    async with (
        serving(serve) as url,
        EventStream(
            url, "token", categories=["ai", "import"], types=["ai.*", "x"], since=7
        ) as stream,
    ):
        first, event, interrupted, *rest = await items(stream, 5)
    assert first == Opened(resumed=False)
    assert event == Event("message", "None", "1", "")
    assert isinstance(interrupted, Interrupted)
    assert interrupted.reason == "the server ended the stream"
    assert 0 <= interrupted.retry_in <= 0.2
    assert rest == [Opened(resumed=True), Event("message", "1", "2", "1")]
    assert requests[0].headers["Authorization"] == "Bearer token"
    assert requests[0].query == {"categories": "ai,import", "types": "ai.*,x", "since": "7"}


async def test_a_server_that_says_goodbye_has_drawn_the_wait_itself() -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        return stream_of('retry: 12\nevent: stream.close\ndata: {"reason": "draining"}\n\n')

    async with serving(serve) as url, EventStream(url, "token") as stream:
        _, close, interrupted = await items(stream, 3)
    assert isinstance(close, Close)
    assert close.reason == "draining"
    assert interrupted == Interrupted("the server ended the stream", 0.012)


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [
        (400, RequestRefused, "400 No: go away; correct the request"),
        (401, TokenRefused, "401 No: go away; get a new token"),
        (404, RequestRefused, "404 No: go away; correct the URL"),
        (418, RequestRefused, "418 No: go away; ask the operator of"),
    ],
)
async def test_final_response_names_the_remedy(
    status: int, error: type[StreamRefused], text: str
) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        return web.json_response({"title": "No", "detail": "go away"}, status=status)

    async with serving(serve) as url, EventStream(url, "token") as stream:
        with pytest.raises(error, match=text):
            await items(stream, 1)


async def test_response_that_is_not_an_event_stream_is_rejected() -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        return web.Response(text="hello")

    async with serving(serve) as url, EventStream(url, "token") as stream:
        with pytest.raises(NotAStream, match="returns text/plain, not an event stream"):
            await items(stream, 1)
    async with EventStream("http://", "token") as stream:
        with pytest.raises(NotAStream, match="is not the URL"):
            await items(stream, 1)


async def test_a_server_that_is_busy_is_given_the_time_that_it_asks_for() -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503, headers={"Retry-After": "7"}, text="busy")

    async with serving(serve) as url, EventStream(url, "token") as stream:
        [interrupted] = await items(stream, 1)
    assert isinstance(interrupted, Interrupted)
    assert interrupted.reason == "503 Service Unavailable"
    assert 7 <= interrupted.retry_in <= 10


async def test_a_server_that_is_away_is_named() -> None:
    port = free_port()
    async with EventStream(f"http://127.0.0.1:{port}/events", "token") as stream:
        [interrupted] = await items(stream, 1)
    assert isinstance(interrupted, Interrupted)
    assert interrupted.reason == f"cannot connect to 127.0.0.1:{port}"


def refusing(*good: str) -> tuple[Handler, list[str]]:
    """Return a server that accepts only these tokens, and the list of tokens it received."""
    asked = []

    async def serve(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers["Authorization"].removeprefix("Bearer "))
        if asked[-1] in good:
            return stream_of(f"{FAST}data: hello\n\n")
        return web.Response(status=401)

    return serve, asked


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_token_is_asked_for_again_when_it_is_refused_and_kept_while_it_is_good(
    is_async: bool,
) -> None:
    serve, asked = refusing("b")
    tokens = iter("ab")

    def token() -> str:
        return next(tokens)

    async def slow_token() -> str:
        await asyncio.sleep(0)
        return next(tokens)

    async with (
        serving(serve) as url,
        EventStream(url, slow_token if is_async else token) as stream,
    ):
        refused, *rest = await items(stream, 5)
    assert isinstance(refused, Interrupted)
    assert refused.reason == "401 Unauthorized"
    assert [type(item) for item in rest] == [Opened, Event, Interrupted, Opened]
    assert asked == ["a", "b", "b"]


@pytest.mark.parametrize(("tokens", "asked_with"), [("aa", ["a"]), ("ab", ["a", "b"])])
async def test_a_source_without_a_better_token_ends_it_until_it_has_one(
    tokens: str, asked_with: list[str]
) -> None:
    serve, asked = refusing("c")
    source = iter(tokens + "c")
    async with serving(serve) as url, EventStream(url, lambda: next(source)) as stream:
        with pytest.raises(TokenRefused):
            await items(stream, 2)
        assert asked == asked_with
        assert await items(stream, 1) == [Opened(resumed=False)]


async def test_a_connection_that_falls_silent_is_dropped_and_opened_again() -> None:
    ids = []

    async def serve(request: web.Request) -> web.StreamResponse:
        ids.append(request.headers.get("Last-Event-ID"))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(f"{FAST}id: 1\n\n".encode())
        await asyncio.sleep(30)
        return response

    async with serving(serve) as url, EventStream(url, "token", silence_seconds=0.5) as stream:
        opened, interrupted, again = await items(stream, 3)
        assert (opened, again) == (Opened(resumed=False), Opened(resumed=True))
        assert isinstance(interrupted, Interrupted)
        assert interrupted.reason == "the server sends no data"
    assert ids == [None, "1"]


async def test_a_caller_that_is_slow_lets_the_server_wait_and_no_memory_grow() -> None:
    block = f"data: {'x' * 10_000}\n\n".encode()
    written = 0
    stuck = asyncio.Event()

    async def serve(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(10_000):
            try:
                async with asyncio.timeout(0.5):
                    await response.write(block)
            except TimeoutError:
                stuck.set()
                break
            written += len(block)
        return response

    async with serving(serve) as url, EventStream(url, "token") as stream:
        await items(stream, 2)
        async with asyncio.timeout(DEADLINE):
            await stuck.wait()
        assert len(stream._ready) < 100  # noqa: SLF001 what could pile up
    assert written < 50_000_000


async def test_a_wait_that_is_cancelled_loses_nothing() -> None:
    may_go_on = asyncio.Event()

    async def serve(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 0\n\ndata: 1\n\nda")
        await may_go_on.wait()
        await response.write(b"ta: 2\n\n")
        return response

    async with serving(serve) as url, EventStream(url, "token") as stream:
        await items(stream, 3)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await anext(stream)
        may_go_on.set()
        assert await items(stream, 1) == [Event("message", "2", "", "")]


async def test_error_of_the_token_source_reaches_the_caller_and_the_stream_stays_usable() -> None:
    serve, _ = refusing("a")
    tokens: Iterator[str | Exception] = iter([LookupError("no token service"), "a"])

    def token() -> str:
        given = next(tokens)
        if isinstance(given, Exception):
            raise given
        return given

    async with serving(serve) as url, EventStream(url, token) as stream:
        with pytest.raises(LookupError):
            await items(stream, 1)
        assert await items(stream, 1) == [Opened(resumed=False)]


@pytest.mark.parametrize(
    ("delivery", "kept"), [(Delivery.AT_LEAST_ONCE, "1"), (Delivery.AT_MOST_ONCE, "3")]
)
async def test_a_file_has_the_id_that_its_delivery_promises(
    tmp_path: Path, delivery: Delivery, kept: str
) -> None:
    began: list[str | None] = []

    async def serve(request: web.Request) -> web.StreamResponse:
        began.append(request.headers.get("Last-Event-ID"))
        return stream_of(f"{FAST}id: 1\n\nid: 2\ndata: a\n\nid: 3\n\n")

    path = tmp_path / "id"
    async with serving(serve) as url:
        with suppress(ZeroDivisionError):
            async with EventStream(url, "token", resume=IdFile(path, delivery)) as stream:
                await items(stream, 2)
                assert path.read_text().strip() == kept, "while the event is handled"
                raise ZeroDivisionError
        assert path.read_text().strip() == kept, "handling it has failed"
        async with EventStream(url, "token", resume=IdFile(path, delivery)) as stream:
            await items(stream, 2)
        assert path.read_text().strip() == "3", "left without an exception, so it was handled"
        assert began == [None, kept]


async def test_a_stream_that_is_left_leaves_no_connection() -> None:
    gone = False

    async def serve(request: web.Request) -> web.StreamResponse:
        nonlocal gone
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            while True:
                await response.write(b":\n")
                await asyncio.sleep(0.01)
        except ConnectionError:
            gone = True
        return response

    async with serving(serve) as url:
        async with EventStream(url, "token") as stream:
            await items(stream, 1)
        await eventually("the server sees it", lambda: gone)
