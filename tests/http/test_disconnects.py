"""Clients that close, half-close or reset their connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from gateway.core.stream import State
from tests.eventually import eventually
from tests.http.raw_client import A_REQUEST, GREETING, RawClient, connected
from tests.http.served import Served
from tests.tokens import mint


async def round_trip(served: Served) -> None:
    """Return when the server has read everything that its sockets had received before the call."""
    async with connected(served.port) as other:
        await other.send(A_REQUEST)
        await other.response()


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
