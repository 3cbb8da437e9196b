from __future__ import annotations

import asyncio

import pytest

from tests.tools.bench.server import Dialect
from tests.tools.bench.stream import Place, Stream
from tests.tools.bench.tally import Tally, Void

HEAD = b"HTTP/1.1 200 OK\r\n\r\n1f\r\nretry: 3000\n\nid: 1\n\n\r\n"


def event(number: int, kind: str = "import.progress") -> bytes:
    return b'id: 1\nevent: %b\ndata: {"n":%d,"t":0}\n\n' % (kind.encode(), number)


def stream_of(
    opened: asyncio.Future[None],
    tally: Tally | None = None,
    place: Place | None = None,
    dialect: Dialect = Dialect.GATEWAY,
) -> Stream:
    counted = tally or Tally()
    return Stream(b"", dialect.greeting, place or Place(), opened, lambda: counted)


@pytest.fixture
async def opened() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


@pytest.fixture
def tally() -> Tally:
    return Tally()


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
async def stream(opened: asyncio.Future[None], tally: Tally, place: Place) -> Stream:
    stream = stream_of(opened, tally, place)
    stream.data_received(HEAD)
    return stream


async def test_a_greeting_without_an_empty_line_may_precede_an_event(
    opened: asyncio.Future[None], tally: Tally
) -> None:
    stream = stream_of(opened, tally, dialect=Dialect.MERCURE)
    stream.data_received(b"HTTP/1.1 200 OK\r\n\r\n2\r\n:")
    assert not opened.done()
    stream.data_received(b"\n\r\n40\r\n" + event(0))
    assert opened.done()
    assert tally.events == 1


@pytest.mark.parametrize(
    ("dialect", "head"),
    [
        (Dialect.GATEWAY, HEAD),
        (Dialect.NCHAN, b"HTTP/1.1 200 OK\r\n\r\n: hi\n\n"),
        (Dialect.NCHAN_BROADCAST, b"HTTP/1.1 200 OK\r\n\r\n: hi\n\n"),
        (Dialect.PUSHPIN, b"HTTP/1.1 200 OK\r\n\r\n: held\n\n"),
    ],
)
async def test_a_stream_is_open_after_the_greeting(
    dialect: Dialect, head: bytes, opened: asyncio.Future[None]
) -> None:
    stream = stream_of(opened, dialect=dialect)
    cut = head.rindex(b"\n\n")
    stream.data_received(head[:cut])
    assert not opened.done()
    stream.data_received(head[cut:])
    assert opened.done()


async def test_another_status_fails_the_opening(opened: asyncio.Future[None]) -> None:
    stream_of(opened).data_received(b"HTTP/1.1 401 Unauthorized\r\n\r\n")
    with pytest.raises(ConnectionError, match="401"):
        await opened


@pytest.mark.parametrize(
    ("received", "fault"),
    [
        pytest.param([event(0), event(2)], {"lost": 1}, id="lost between"),
        pytest.param([event(3), event(4)], {"lost": 3}, id="lost before the first"),
        pytest.param([event(0), event(1), event(1)], {"repeated": 1}, id="repeated"),
        pytest.param([event(1), event(0)], {"lost": 1, "repeated": 1}, id="out of order"),
        pytest.param([event(0, "stream.gap")], {"gaps or closes": 1}, id="gap"),
    ],
)
async def test_unexpected_events_are_faults(
    stream: Stream, tally: Tally, received: list[bytes], fault: dict[str, int]
) -> None:
    stream.data_received(b"".join(received))
    assert tally.faults == fault
    with pytest.raises(Void):
        tally.verify(tally.events)


async def test_a_stream_that_ends_is_a_fault(stream: Stream, tally: Tally) -> None:
    stream.connection_lost(None)
    assert tally.faults == {"streams ended": 1}


async def test_a_dropped_stream_may_end(stream: Stream, tally: Tally) -> None:
    stream.leave()
    stream.connection_lost(None)
    tally.verify(0)


async def test_numbers_continue_in_the_next_stream(
    stream: Stream, tally: Tally, place: Place, opened: asyncio.Future[None]
) -> None:
    stream.data_received(event(0) + event(1))
    stream_of(opened, tally, place).data_received(HEAD + event(2))
    tally.verify(3)
    stream_of(opened, tally, place).data_received(HEAD + event(2))
    assert tally.faults == {"repeated": 1}


@pytest.mark.parametrize(
    ("received", "last_id"),
    [
        pytest.param(b"", b"1", id="without events"),
        pytest.param(b'id: 1-2\ndata: {"n":0,"t":0}\n\n', b"1-2", id="of an event"),
        pytest.param(
            b'event: import.progress\nid: 3:0\ndata: {"n":0,"t":0}\n\n', b"3:0", id="of Nchan"
        ),
        pytest.param(b"1a\r\n: heartbeat\nid: 5\n\n\r\n", b"5", id="of a heartbeat"),
    ],
)
async def test_a_client_resumes_with_the_last_id(
    stream: Stream, place: Place, received: bytes, last_id: bytes
) -> None:
    stream.data_received(received)
    assert place.last_id == last_id
    assert b"\r\nLast-Event-ID: %b\r\n" % last_id in Dialect.GATEWAY.request("u", place.last_id)


@pytest.mark.parametrize("size", range(1, 60, 7))
async def test_events_may_be_split_anywhere(stream: Stream, tally: Tally, size: int) -> None:
    received = b"".join(event(number) for number in range(5))
    for begin in range(0, len(received), size):
        stream.data_received(received[begin : begin + size])
    tally.verify(5)
