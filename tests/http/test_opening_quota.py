"""Openings per turn of the event loop, counted while many clients connect at the same time."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from gateway.http import admission, draining
from gateway.http.transport.opening_quota import OPENINGS_PER_TURN, OpeningQuota
from tests.eventually import eventually
from tests.http.raw_client import connected
from tests.http.served import Turns, serving
from tests.tokens import mint

CLIENTS = 120


def assert_bounded(turns: Turns) -> None:
    assert sum(turns.openings) == CLIENTS
    assert max(turns.openings) <= 2 * OPENINGS_PER_TURN
    assert sum(opened > 0 for opened in turns.openings) >= CLIENTS // OPENINGS_PER_TURN // 2


async def test_clients_that_connect_at_once_open_in_several_turns() -> None:
    async with serving() as served, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(served.port)) for _ in range(CLIENTS)]
        async with Turns(served).counted() as turns:
            # One turn: the requests are in the kernel before the acceptor runs.
            for number, client in enumerate(clients):
                await client.request("/api/v1/events", token=mint(f"user-{number}"))
            await served.until_open(CLIENTS)
        assert_bounded(turns)
        assert served.requests == 0


async def test_requests_through_aiohttp_open_in_several_turns() -> None:
    async with serving() as served, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(served.port)) for _ in range(CLIENTS)]
        for number, client in enumerate(clients):
            token = mint(f"user-{number}")
            await client.send(
                f"GET /api/v1/events HTTP/1.1\r\nAuthorization: Bearer {token}\r\n".encode()
            )
        await eventually("all connections belong to aiohttp", lambda: served.connections == CLIENTS)
        async with Turns(served).counted() as turns:
            for client in clients:
                await client.send(b"Host: x\r\n\r\n")
            await served.until_open(CLIENTS)
        assert_bounded(turns)
        assert served.requests == CLIENTS


async def test_requests_that_wait_for_their_turn_only_hold_no_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A crowd that is larger than the places for openings gets no 503 while its logs are read."""
    monkeypatch.setattr(admission, "MAX_OPENINGS", 2 * OPENINGS_PER_TURN)
    async with serving() as served, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(served.port)) for _ in range(CLIENTS)]
        for number, client in enumerate(clients):
            token = mint(f"user-{number}")
            await client.send(
                f"GET /api/v1/events HTTP/1.1\r\nAuthorization: Bearer {token}\r\n".encode()
            )
        await eventually("all connections belong to aiohttp", lambda: served.connections == CLIENTS)
        for client in clients:
            await client.send(b"Host: x\r\n\r\n")
        await served.until_open(CLIENTS)


async def test_requests_that_waited_for_a_partition_open_in_several_turns() -> None:
    async with serving() as served, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(served.port)) for _ in range(CLIENTS)]
        served.let_through.clear()
        for number, client in enumerate(clients):
            await client.request("/api/v1/events", token=mint(f"user-{number}"))
        await eventually("all requests wait for the partition", lambda: served.asking == CLIENTS)
        async with Turns(served).counted() as turns:
            served.let_through.set()
            await served.until_open(CLIENTS)
        assert_bounded(turns)


async def test_live_events_are_written_between_openings() -> None:
    async with serving() as served, AsyncExitStack() as stack:
        reader = await stack.enter_async_context(connected(served.port))
        await served.open(reader)
        clients = [await stack.enter_async_context(connected(served.port)) for _ in range(CLIENTS)]
        served.let_through.clear()
        for number, client in enumerate(clients):
            await client.request("/api/v1/events", token=mint(f"user-{number}"))
        await eventually("all requests wait for the partition", lambda: served.asking == CLIENTS)
        served.let_through.set()
        for _ in range(3):
            await asyncio.sleep(0)
        served.publish(b"1")
        assert b"data: 1\n" in await reader.chunk()
        assert len(served.hub.streams) < CLIENTS


async def test_a_worker_that_stops_ends_its_streams_in_several_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(draining, "GOODBYES_PER_TURN", 10)
    async with serving() as served, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(served.port)) for _ in range(35)]
        for number, client in enumerate(clients):
            await client.request("/api/v1/events", token=mint(f"user-{number}"))
        await served.until_open(35)
        ending = asyncio.create_task(draining.say_goodbye_to_all(served.hub, served.settings))
        left = []
        while not ending.done():
            await asyncio.sleep(0)
            left.append(len(served.hub.streams))
        assert sorted(set(left), reverse=True) == [25, 15, 5, 0]
        for client in clients:
            assert b'{"reason":"draining"}' in await client.rest()


async def test_the_quota_grants_in_order_and_skips_cancelled_requests() -> None:
    quota = OpeningQuota(most=2)
    granted: list[int] = []

    async def request(number: int) -> None:
        await quota.wait()
        granted.append(number)

    tasks = [asyncio.create_task(request(number)) for number in range(7)]
    await asyncio.sleep(0)
    assert granted == [0, 1]
    assert not quota.has_room()
    tasks[3].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert granted == [0, 1, 2, 4, 5, 6]
    for _ in range(3):
        await asyncio.sleep(0)
    assert quota.has_room()


async def test_the_quota_serves_a_second_wait_before_a_first_one() -> None:
    quota = OpeningQuota(most=1)
    granted: list[str] = []

    async def request(name: str, *, again: bool) -> None:
        await quota.wait(again=again)
        granted.append(name)

    names = ("first", "again", "last")
    tasks = [asyncio.create_task(request(name, again=name == "again")) for name in names]
    quota.use()
    await asyncio.gather(*tasks)
    assert granted == ["again", "first", "last"]
