from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from itertools import pairwise

import pytest

from gateway.http.transport.poller import READY_PER_TURN, EpollPoller, LoopPoller
from gateway.http.transport.socket_transport import Poller, SocketTransport
from tests.eventually import DEADLINE, eventually
from tests.http.raw_client import SMALL_BUFFER

MUCH = b"0123456789" * 40_000
"""More than the buffers of two sockets take."""


class Listener(asyncio.Protocol):
    """Records the calls of the transport."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> bool:
        self.heard.append("eof")
        return False

    def pause_writing(self) -> None:
        self.heard.append("pause")

    def resume_writing(self) -> None:
        self.heard.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.heard.append("lost" if exc is None else type(exc).__name__)


class Pair:
    """A wire, and the client at its other end."""

    def __init__(self, make_poller: Callable[[asyncio.AbstractEventLoop], Poller]) -> None:
        near, self.client = _connected()
        near.setblocking(False)
        self.client.setblocking(False)
        self.sock = near
        loop = asyncio.get_running_loop()
        self.poller = make_poller(loop)
        self.listener = Listener()
        self.wire = SocketTransport(loop, near, "peer", self.poller)
        self.wire.set_protocol(self.listener)

    async def read(self, size: int) -> bytes:
        """Read that much, or up to the end."""
        loop = asyncio.get_running_loop()
        data = b""
        async with asyncio.timeout(DEADLINE):
            while len(data) < size and (more := await loop.sock_recv(self.client, 1 << 20)):
                data += more
        return data

    async def hears(self, *words: str) -> None:
        await eventually(
            f"the protocol hears {words}, not {self.listener.heard}",
            lambda: self.listener.heard == list(words),
        )


def _connected() -> tuple[socket.socket, socket.socket]:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
        client.connect(listening.getsockname())
        near, _ = listening.accept()
    return near, client


@pytest.fixture(params=[EpollPoller, LoopPoller])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    it = Pair(request.param)
    yield it
    it.wire.abort()
    await asyncio.sleep(0)
    it.client.close()
    it.poller.close()


async def test_transport_sends_written_bytes_and_delivers_received_bytes(pair: Pair) -> None:
    pair.wire.write(b"there")
    assert await pair.read(5) == b"there"
    pair.client.send(b"back")
    await eventually("it came back", lambda: pair.listener.data == b"back")
    assert pair.wire.get_extra_info("peername") == "peer"
    assert pair.wire.get_extra_info("socket") is pair.sock


async def test_a_full_wire_pauses_its_protocol_once_and_keeps_everything(pair: Pair) -> None:
    pair.wire.write(MUCH)
    pair.wire.write(MUCH)
    assert pair.listener.heard == ["pause"]
    assert 0 < pair.wire.get_write_buffer_size() < 2 * len(MUCH)
    assert await pair.read(2 * len(MUCH)) == MUCH * 2
    await pair.hears("pause", "resume")
    assert pair.wire.get_write_buffer_size() == 0
    pair.wire.write(b"more")
    assert await pair.read(4) == b"more"


async def test_a_client_that_finishes_is_gone_once_it_has_everything(pair: Pair) -> None:
    pair.wire.write(MUCH)
    pair.client.shutdown(socket.SHUT_WR)
    await pair.hears("pause", "eof")
    assert pair.wire.is_closing()
    assert pair.poller.parting == {pair.wire}
    assert await pair.read(len(MUCH) + 1) == MUCH
    await pair.hears("pause", "eof", "resume", "lost")
    assert pair.poller.parting == set()


async def test_closed_transport_flushes_its_buffer_and_ends(pair: Pair) -> None:
    pair.wire.write(MUCH)
    pair.wire.close()
    pair.wire.close()
    assert await pair.read(len(MUCH) + 1) == MUCH
    await pair.hears("pause", "resume", "lost")


async def test_protocol_learns_of_the_end_later_and_once(pair: Pair) -> None:
    pair.wire.close()
    pair.wire.abort()
    pair.wire.write(b"nobody gets this")
    assert pair.listener.heard == []
    await pair.hears("lost")
    assert await pair.read(1) == b""


async def test_aborted_transport_discards_its_buffer(pair: Pair) -> None:
    pair.wire.write(MUCH)
    pair.wire.abort()
    await pair.hears("pause", "lost")
    assert len(await pair.read(len(MUCH))) < len(MUCH)


@pytest.mark.parametrize("kept", [b"", MUCH], ids=["empty", "full"])
async def test_broken_connection_is_reported_once(pair: Pair, kept: bytes) -> None:
    if kept:
        pair.wire.write(kept)
    pair.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    pair.client.close()
    for _ in range(3):
        pair.wire.write(b"to nobody")
    await eventually(
        "the protocol is notified",
        lambda: pair.listener.heard[-1:] in (["ConnectionResetError"], ["BrokenPipeError"]),
    )
    assert len(pair.listener.heard) == 1 + bool(kept)


async def test_exception_in_one_protocol_does_not_concern_the_others() -> None:
    loop = asyncio.get_running_loop()
    failures: list[str] = []
    loop.set_exception_handler(lambda _, context: failures.append(str(context["exception"])))
    poller = EpollPoller(loop)
    pairs = [Pair(lambda _: poller) for _ in range(3)]

    def fail(data: bytes) -> None:
        raise RuntimeError("a defect")

    pairs[1].listener.data_received = fail  # type: ignore[method-assign]
    for each in pairs:
        each.client.send(b"data")
    await eventually(
        "the others get their data",
        lambda: pairs[0].listener.data == pairs[2].listener.data == b"data" and bool(failures),
    )
    assert failures == ["a defect"]
    for each in pairs:
        each.wire.abort()
        each.client.close()
    poller.close()


async def test_poller_serves_a_bounded_number_of_sockets_in_a_turn() -> None:
    loop = asyncio.get_running_loop()
    poller = EpollPoller(loop)
    pairs = [Pair(lambda _: poller) for _ in range(READY_PER_TURN + 1)]
    for each in pairs:
        each.client.close()
    lost = [0]
    while lost[-1] < len(pairs):
        await asyncio.sleep(0)
        lost.append(sum(each.wire.is_closing() for each in pairs))
    assert max(now - before for before, now in pairwise(lost)) <= READY_PER_TURN
    await asyncio.sleep(0)
    poller.close()
