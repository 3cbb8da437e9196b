"""Connections between two workers of a machine, here in one process."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import struct
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.config import load_settings
from gateway.http import request_reader, siblings
from gateway.http.auth.keys import OneKey
from gateway.http.auth.tokens import Authenticator
from gateway.http.siblings import Siblings
from gateway.http.transport.handover import (
    ENOUGH,
    MAX_BYTES,
    MOST,
)
from gateway.http.transport.opening_quota import OPENINGS_PER_TURN
from gateway.revocation.table import Revocations
from tests.eventually import eventually
from tests.http.raw_client import connected
from tests.http.served import Turns, serving
from tests.http.slots import (
    LOST,
    MALFORMED,
    OF_SIBLING,
    Slots,
    arrivals,
    clients_of,
    flat,
    open_files,
    opened,
    received,
    user,
)
from tests.tokens import SECRET, mint


@pytest.fixture
def slots() -> Iterator[Slots]:
    found = Slots()
    yield found
    found.close()


async def test_connections_are_received_with_their_bytes_in_few_datagrams(slots: Slots) -> None:
    before = open_files()
    heads = [b"head %d" % number for number in range(20)]
    with arrivals(heads) as (sent, clients):
        addresses = [client.getsockname() for client in clients]
        assert slots.own.hand_over(1, sent) == []
        assert slots.sizes == [MOST, MOST, 20 - 2 * MOST]
        assert {arrival.sock.fileno() for arrival in sent} == {-1}, "closed here"
        async with received(slots.sibling) as found:
            await eventually("all are received", lambda: len(flat(found)) == 20)
            assert [arrival.data for arrival in flat(found)] == heads
            assert [arrival.peername for arrival in flat(found)] == addresses
            for number, arrival in enumerate(flat(found)):
                assert arrival.sock.gettimeout() == 0
                arrival.sock.send(b"%d" % number)
                assert clients[number].recv(9) == b"%d" % number
    assert open_files() == before


async def test_heads_that_fill_a_datagram_are_divided_and_larger_ones_stay(slots: Slots) -> None:
    large = b"x" * (MAX_BYTES * 2 // 3)
    with arrivals([large, large, large + large, b"small", large]) as (sent, _):
        assert slots.own.hand_over(1, sent) == [sent[2]]
        assert slots.sizes == [1, 1, 2]
        async with received(slots.sibling) as found:
            await eventually("all are received", lambda: len(flat(found)) == 4)
            assert [len(arrival.data) for arrival in flat(found)] == [
                *(len(large), len(large)),
                *(len(b"small"), len(large)),
            ]


async def test_a_turn_receives_few_connections_beside_those_that_it_accepts(
    slots: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[None] = []
    async with serving(handover=slots.own) as own, serving(handover=slots.sibling) as sibling:
        assert slots.sibling.destination(b"other") == 0
        slots.sibling.stop()
        monkeypatch.setattr(sibling.endpoint.quota, "use", lambda: counted.append(None))
        async with clients_of(own, [user(number) for number in range(60)]) as clients:
            await eventually("all are handed over", lambda: sum(slots.sizes) == 60)
            async with Turns(sibling).counted() as turns:
                sibling.receive_again()
                await sibling.until_open(60)
            for client in clients:
                await opened(client)
        assert 0 < max(turns.openings) <= ENOUGH + MOST
        assert counted == [], "the next turn accepts as many as before"
        assert own.hub.openings == []
        assert sibling.requests == own.requests == 0


async def test_each_worker_opens_the_streams_of_its_users(slots: Slots) -> None:
    before = open_files()
    users = [user(number) if number % 2 else f"user-{number}" for number in range(32)]
    async with (
        serving(handover=slots.own) as own,
        serving(handover=slots.sibling) as sibling,
        clients_of(own, users) as clients,
    ):
        for client in clients:
            await opened(client)
        assert sorted(it.user for it in sibling.hub.openings) == sorted(
            name.encode() for name in users if name.startswith(OF_SIBLING)
        )
        assert len(own.hub.openings) == 16
        assert sum(slots.sizes) == 16
        assert max(slots.sizes) > 1
    await eventually("all descriptors are closed", lambda: open_files() <= before)


async def test_connections_stay_while_the_queue_is_full_and_open_in_several_turns(
    slots: Slots,
) -> None:
    slots.fill()
    async with serving(handover=slots.own) as own, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(own.port)) for _ in range(40)]
        async with Turns(own).counted() as turns:
            for number, client in enumerate(clients):
                await client.request("/api/v1/events", token=mint(user(number)))
            await own.until_open(40)
        for client in clients:
            await opened(client)
    assert slots.sizes == []
    assert max(turns.openings) <= 2 * OPENINGS_PER_TURN


@pytest.mark.parametrize("closed", [False, True], ids=["not accepting", "without a receiver"])
async def test_connections_of_a_missing_sibling_stay(slots: Slots, *, closed: bool) -> None:
    if closed:
        slots.end_sibling()
    else:
        slots.own.up = frozenset({0})
    async with serving(handover=slots.own) as own, clients_of(own, [user(0)]) as clients:
        await opened(clients[0])
        assert len(own.hub.openings) == 1
    assert slots.sizes == []


async def test_a_defect_costs_each_request_that_was_handed_over_its_own_answer(
    slots: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_reader, "read_opening", lambda *_: 1 / 0)
    async with (
        serving(handover=slots.own) as own,
        serving(handover=slots.sibling) as sibling,
        clients_of(own, [user(number) for number in range(5)]) as clients,
    ):
        for client in clients:
            assert (await client.head()).startswith(b"HTTP/1.1 500 ")
        assert sibling.requests == 5


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        b"GET /api/v1/events HTTP/1.1\r\n\r\n",
        struct.pack("=II", 1, 9) + b"short",
        struct.pack("=II", 1, 1) + b"too long",
        struct.pack("=II", 2, 4) + b"head",
        struct.pack("=I", MOST + 1) + struct.pack("=I", 0) * (MOST + 1),
        struct.pack("=II", 1, 4) + b"head",
    ],
)
async def test_the_connections_of_a_malformed_datagram_are_closed(
    slots: Slots, data: bytes
) -> None:
    before = open_files()
    with arrivals([b"head"] * 3) as (sent, clients), capture_logs() as lines:
        slots.send_raw(data, [arrival.sock.fileno() for arrival in sent[:2]])
        for arrival in sent[:2]:
            arrival.sock.close()
        assert slots.own.hand_over(1, sent[2:]) == []
        async with received(slots.sibling) as found:
            await eventually("the next datagram is received", lambda: len(flat(found)) == 1)
        for client in clients[:2]:
            assert client.recv(1) == b""
        assert [(line["event"], line["connections"]) for line in lines] == [(MALFORMED, 2)]
    assert open_files() == before


async def test_a_descriptor_that_is_not_a_socket_is_closed(slots: Slots) -> None:
    before = open_files()
    pipe = os.pipe()
    slots.send_raw(struct.pack("=II", 1, 4) + b"head", pipe[:1])
    for descriptor in pipe:
        os.close(descriptor)
    async with received(slots.sibling) as found:
        await eventually("the datagram is received", lambda: found)
        assert flat(found) == []
    assert open_files() == before


class _Scarce(socket.socket):
    """A socket whose process has one free descriptor when it receives."""

    def recvmsg(self, *arguments: Any) -> Any:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, limits[1]))
        try:
            return super().recvmsg(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_without_free_descriptors_the_first_connection_is_served_and_the_loss_logged() -> (
    None
):
    slots = Slots(_Scarce)
    with arrivals([b"first", b"second", b"third"]) as (sent, clients), capture_logs() as lines:
        assert slots.own.hand_over(1, sent) == []
        async with received(slots.sibling) as found:
            await eventually("one is received", lambda: flat(found))
            (arrival,) = flat(found)
            assert arrival.data == b"first"
            assert arrival.peername == clients[0].getsockname()
            assert clients[1].recv(1) == clients[2].recv(1) == b""
    slots.close()
    (line,) = lines
    assert (line["event"], line["connections"]) == (LOST, 2)


async def test_connections_whose_clients_have_gone_are_closed(slots: Slots) -> None:
    before = open_files()
    with arrivals([b"head"] * 20) as (sent, clients):
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        assert slots.own.hand_over(1, sent) == []
        async with received(slots.sibling) as found:
            await eventually("all are received", lambda: len(found) == len(slots.sizes))
            assert flat(found) == []
    assert open_files() == before


async def test_a_stopped_worker_leaves_connections_to_its_successor(slots: Slots) -> None:
    with arrivals([b"head"]) as (sent, clients):
        async with received(slots.sibling) as found:
            pass
        slots.own.hand_over(1, sent)
        await asyncio.sleep(0)
        assert found == []
        async with received(slots.sibling) as found:
            await eventually("the successor has it", lambda: flat(found))
            assert flat(found)[0].peername == clients[0].getsockname()


def test_the_user_of_a_token_is_read_once(slots: Slots, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(None, jwt_secret=SECRET)
    authenticator = Authenticator(settings, OneKey(settings), Revocations())
    read: list[str] = []
    claimed_user = authenticator.claimed_user

    def counted(token: str) -> str | None:
        read.append(token)
        return claimed_user(token)

    monkeypatch.setattr(authenticator, "claimed_user", counted)
    monkeypatch.setattr(siblings, "MOST_USERS", 3)
    found = Siblings(settings, authenticator, slots.own)
    tokens = [mint(user(number)) for number in range(3)]
    for _ in range(3):
        for token in tokens:
            head = f"GET / HTTP/1.1\r\nauthorization: bearer {token}\r\n\r\n".encode()
            assert found.destination(head) == 1
    assert read == tokens
    own = f"GET / HTTP/1.1\r\nAuthorization: Bearer {mint('own')}\r\n\r\n".encode()
    assert found.destination(own) is None
    assert found.destination(b"GET / HTTP/1.1\r\nAuthorization: Bearer a.b.c\r\n\r\n") is None
    assert found.destination(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") is None
    assert found.destination(head) == 1
    assert len(read) == 6, "a fourth user drops the others"
