from __future__ import annotations

import asyncio

import pytest

from tests.bench.clients import Clients, Stream
from tests.bench.tally import Void

HEAD = b"HTTP/1.1 200 OK\r\n\r\n1f\r\nretry: 3000\n\nid: 1\n\n\r\n"


def event(number: int, kind: str = "import.progress") -> bytes:
    return b'id: 1\nevent: %b\ndata: {"n":%d,"t":0}\n\n' % (kind.encode(), number)


@pytest.fixture
async def clients() -> Clients:
    return Clients()


@pytest.fixture
async def opened() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


@pytest.fixture
async def stream(clients: Clients, opened: asyncio.Future[None]) -> Stream:
    stream = Stream(clients, opened, "token")
    stream.data_received(HEAD)
    return stream


async def test_a_stream_is_open_when_its_first_id_has_come(
    clients: Clients, opened: asyncio.Future[None]
) -> None:
    stream = Stream(clients, opened, "token")
    stream.data_received(HEAD[:-6])
    assert not opened.done()
    stream.data_received(HEAD[-6:])
    assert opened.done()


async def test_another_status_is_no_stream(clients: Clients, opened: asyncio.Future[None]) -> None:
    Stream(clients, opened, "token").data_received(b"HTTP/1.1 401 Unauthorized\r\n\r\n")
    with pytest.raises(ConnectionError, match="401"):
        await opened


@pytest.mark.parametrize(
    ("received", "fault"),
    [
        pytest.param([event(0), event(2)], {"lost": 1}, id="lost between"),
        pytest.param([event(3), event(4)], {"lost": 3}, id="lost before the first"),
        pytest.param([event(0), event(1), event(1)], {"repeated": 1}, id="repeated"),
        pytest.param([event(1), event(0)], {"lost": 1, "repeated": 1}, id="out of order"),
        pytest.param([event(0, "stream.gap")], {"gaps or goodbyes": 1}, id="gap"),
    ],
)
async def test_what_must_not_come_is_a_fault(
    clients: Clients, stream: Stream, received: list[bytes], fault: dict[str, int]
) -> None:
    stream.data_received(b"".join(received))
    tally = clients.take_tally()
    assert tally.faults == fault
    with pytest.raises(Void):
        tally.verify(tally.events)


async def test_a_stream_that_ends_is_a_fault(clients: Clients, stream: Stream) -> None:
    stream.connection_lost(None)
    assert clients.take_tally().faults == {"streams ended": 1}


async def test_numbers_go_on_behind_a_tally_that_was_taken(
    clients: Clients, stream: Stream
) -> None:
    stream.data_received(event(0) + event(1))
    clients.take_tally()
    stream.data_received(event(2))
    clients.take_tally().verify(1)


@pytest.mark.parametrize("size", range(1, 60, 7))
async def test_events_may_be_cut_anywhere(clients: Clients, stream: Stream, size: int) -> None:
    received = b"".join(event(number) for number in range(5))
    for begin in range(0, len(received), size):
        stream.data_received(received[begin : begin + size])
    clients.take_tally().verify(5)
