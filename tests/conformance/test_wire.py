"""The HTTP client of the suite against handwritten responses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.conformance.wire import Broken, send

HEAD = b"HTTP/1.1 200 OK\r\n"


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Send each connection the next answer and close it; yield the URL and the request heads."""
    heads: list[bytes] = []
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(left.pop(0))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/s?a=b", heads


@pytest.mark.parametrize(
    ("answer", "body", "complete"),
    [
        (
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
            b"abcde",
            True,
        ),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab", b"ab", False),
        (HEAD + b"Content-Length: 2\r\n\r\nabc", b"ab", True),
        (HEAD + b"Content-Length: 5\r\n\r\nab", b"ab", False),
        (HEAD + b"\r\nabc", b"abc", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    ],
)
async def test_a_body_is_complete_only_if_its_framing_is(
    answer: bytes, body: bytes, complete: bool
) -> None:
    async with answering(answer) as (url, _):
        connection = await send(url, [])
        read = b""
        while data := await connection.read():
            read += data
        connection.close()
    assert (read, connection.complete) == (body, complete)


async def test_a_chunked_body_without_a_last_chunk_raises_broken() -> None:
    async with answering(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n") as (url, _):
        connection = await send(url, [])
        assert await connection.read() == b"a"
        with pytest.raises(Broken, match="cut off"):
            await connection.read()
        connection.close()


async def test_invalid_headers_are_sent_unchanged() -> None:
    async with answering(HEAD + b"\r\n") as (url, heads):
        (await send(url, [("Last-Event-ID", b"a\0\xff")], method="PATCH")).close()
    assert heads[0].startswith(b"PATCH /s?a=b HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nLast-Event-ID: a\0\xff\r\n" in heads[0]


async def test_a_redirect_is_followed_on_the_same_host_only() -> None:
    there = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /s?shard=1\r\n\r\n"
    async with answering(there, HEAD + b"\r\n") as (url, heads):
        connection = await send(url, [("Authorization", b"Bearer secret")])
        connection.close()
    assert connection.status == 200
    assert heads[1].startswith(b"GET /s?shard=1 ")

    away = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://elsewhere.invalid/\r\n\r\n"
    async with answering(away) as (url, heads):
        connection = await send(url, [("Authorization", b"Bearer secret")])
        connection.close()
    assert (connection.status, len(heads)) == (307, 1)


async def test_redirects_are_limited() -> None:
    there = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /s\r\n\r\n"
    async with answering(*[there] * 4) as (url, _):
        with pytest.raises(Broken, match="more than 3 redirects"):
            await send(url, [])


@pytest.mark.parametrize(
    ("answer", "text"),
    [(b"", "without a response"), (b"220 mail\r\n\r\n", "not an HTTP/1.1 response")],
)
async def test_a_response_that_is_not_http_raises_broken(answer: bytes, text: str) -> None:
    async with answering(answer) as (url, _):
        with pytest.raises(Broken, match=text):
            await send(url, [])
