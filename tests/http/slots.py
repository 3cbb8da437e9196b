"""Two workers of one machine that hand over connections, and their clients."""

from __future__ import annotations

import os
import socket
from array import array
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress

from gateway.http.transport.handover import (
    Arrival,
    Handover,
)
from tests.http.raw_client import GREETING, RawClient, connected
from tests.http.served import Served
from tests.tokens import mint

LOST = "handed-over connections lost: out of file descriptors; raise ulimit -n"
MALFORMED = "handover malformed; its connections are closed"
OF_SIBLING = "sibling"
"""Begin of the users of slot 1; the other users belong to slot 0."""


class Slots:
    """The handovers of two slots, and the sizes of the datagrams that slot 0 has sent."""

    def __init__(self, receiving: type[socket.socket] = socket.socket) -> None:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]
        self.sending = [sending for sending, _ in pairs]
        self._receiving = [receiving(fileno=other.detach()) for _, other in pairs]
        self.sizes: list[int] = []
        self.own, self.sibling = (
            Handover(slot, self.sending, self._receiving[slot], _owner, self.sizes.append)
            for slot in (0, 1)
        )
        self.own.up = self.sibling.up = frozenset({0, 1})

    def fill(self) -> None:
        """Fill the queue of slot 1."""
        with suppress(BlockingIOError):
            while True:
                self.sending[1].send(b"")

    def send_raw(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send a datagram to slot 1."""
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))
        self.sending[1].sendmsg([data], [rights])

    def end_sibling(self) -> None:
        """Close the socket on which slot 1 receives."""
        self._receiving[1].close()

    def close(self) -> None:
        for sock in (*self.sending, *self._receiving):
            sock.close()


def _owner(user: bytes) -> int:
    return int(user.startswith(OF_SIBLING.encode()))


@contextmanager
def arrivals(data: Sequence[bytes]) -> Iterator[tuple[list[Arrival], list[socket.socket]]]:
    """Accept a connection for each head; yield the connections and their clients."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        clients = [socket.create_connection(listening.getsockname()) for _ in data]
        accepted = [listening.accept()[0] for _ in data]
    yield [Arrival(sock, None, each) for sock, each in zip(accepted, data, strict=True)], clients
    for sock in (*accepted, *clients):
        sock.close()


@asynccontextmanager
async def received(handover: Handover) -> AsyncIterator[list[list[Arrival]]]:
    """Collect what a slot receives, by datagram; close it at the end."""
    found: list[list[Arrival]] = []
    handover.start(lambda some: found.append(list(some)))
    yield found
    handover.stop()
    for arrival in flat(found):
        arrival.sock.close()


def flat(groups: list[list[Arrival]]) -> list[Arrival]:
    return [arrival for group in groups for arrival in group]


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def user(number: int) -> str:
    return f"{OF_SIBLING}-{number}"


async def opened(client: RawClient) -> None:
    assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")
    assert GREETING.match(await client.chunk())


@asynccontextmanager
async def clients_of(served: Served, users: Sequence[str]) -> AsyncIterator[list[RawClient]]:
    """Connect a client for each user and ask for its stream, all before the acceptor runs."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(served.port)) for _ in users]
        for client, name in zip(clients, users, strict=True):
            await client.request("/api/v1/events", token=mint(name))
        yield clients
