"""Clients that are gone without a word: no FIN, no RST, their network just swallows everything."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from gateway.core.stream import State
from gateway.http import public
from tests.eventually import eventually
from tests.http.network import HERE, Network, network
from tests.http.raw_client import RawClient, connected
from tests.http.served import Served, serving
from tests.http.test_admission import rejects
from tests.tokens import mint


@pytest.fixture
def phones() -> Iterator[Network]:
    with network() as made:
        yield made


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as made:
        yield made


async def call(stack: AsyncExitStack, served: Served, phones: Network | None) -> RawClient:
    """Connect from the network, or from one that stays."""
    sock = None if phones is None else phones.make_socket()
    return await stack.enter_async_context(connected(served.port, host=HERE, sock=sock))


async def test_a_client_that_cannot_be_reached_is_found_within_the_time(
    phones: Network, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public, "FLUSH_SECONDS", 0.25)
    # Dead after 1 s.
    async with serving(host=HERE, heartbeat_seconds=0.5, slow_seconds=0.2) as served:
        phone, desk = await call(stack, served, phones), await call(stack, served, None)
        for client in (phone, desk):
            await served.open(client)
        phones.cut()
        begin = time.monotonic()
        served.publish(b"1")  # or a heartbeat: any data sent has the same effect

        await served.until_open(1)

        assert time.monotonic() - begin > 0.8
        assert served.feed.streams == 1
        served.publish(b"2")
        assert b"data: 1\n" in await desk.chunk()
        assert b"data: 2\n" in await desk.chunk()


async def test_a_phone_that_has_changed_its_network_is_not_locked_out(
    phones: Network, stack: AsyncExitStack
) -> None:
    async with serving(host=HERE, max_streams_per_user=2) as served:
        for _ in range(2):
            await served.open(await call(stack, served, phones))
        left_behind = list(served.hub.streams)
        phones.cut()
        for stream in left_behind:
            stream.written -= 5  # nothing has happened for some time

        for _ in range(2):
            phone = await call(stack, served, None)
            await served.open(phone)

        assert [stream.state for stream in left_behind] == [State.CLOSED] * 2
        assert len(served.hub.streams) == 2
        served.publish(b'"news"')
        assert b'data: "news"\n' in await phone.chunk()
        assert rejects(served) == {}


async def test_a_phone_whose_streams_are_alive_gets_no_more(
    phones: Network, stack: AsyncExitStack
) -> None:
    async with serving(host=HERE, max_streams_per_user=1) as served:
        first = await call(stack, served, phones)
        await served.open(first)
        served.stream.written -= 5
        second = await call(stack, served, phones)
        await second.request("/api/v1/events", token=mint("alice"))
        assert (await second.head()).startswith(b"HTTP/1.1 429 ")
        assert (await first.chunk()).startswith(b": heartbeat\nid: "), "it was asked"
        assert served.stream.state is State.LIVE


async def test_stuck_client_of_a_lost_network_does_not_block_its_successor(
    phones: Network, stack: AsyncExitStack
) -> None:
    async with serving(host=HERE, max_streams_per_user=1) as served:
        await served.open(await call(stack, served, phones))
        phones.cut()
        left_behind = served.stream
        served.publish(*[b'"%s"' % (b"x" * 2000)] * 200)
        await eventually("its stream is stuck", lambda: left_behind.state is State.STUCK)
        await served.open(await call(stack, served, None))
        assert left_behind.state is State.CLOSED
