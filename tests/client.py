"""A client of the event stream that can be made to drop, to stall and to come back.

It does what an `EventSource` does (HTML standard, §9.2): it reads the stream with the tests' own
parser, keeps the last event id, and sends it when it connects again. It keeps every byte, so that a
test can look at the framing too.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Self

import aiohttp

from tests.eventually import DEADLINE
from tests.sse import EventStreamParser, ReceivedEvent

Params = list[tuple[str, str]]

RECEIVE_BUFFER = 16_384
"""Small, so that a client that does not read is felt by the gateway after few events."""


class StreamClient:
    """One client of `/api/v1/events`; `async with` ends its connection.

    `events` has what an `EventSource` would have dispatched since the client was made, across all
    connections; `raw` has the bytes of the present connection.
    """

    def __init__(self, url: str, token: str | None, context: ssl.SSLContext | None = None) -> None:
        self.url = url
        self.token = token
        self.last_event_id = ""
        self.events: list[ReceivedEvent] = []
        self.raw = bytearray()
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self._params: Params = []
        self._parser = EventStreamParser()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, socket_factory=_small_socket, ssl=context or True
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=DEADLINE),
            auto_decompress=False,
        )
        self._response: aiohttp.ClientResponse | None = None
        self._reading: asyncio.Task[None] | None = None
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.drop()
        await self._session.close()

    @property
    def is_open(self) -> bool:
        """Whether the gateway has not ended the stream, as far as this client has read."""
        return self._reading is not None and not self._reading.done()

    @property
    def data(self) -> list[str]:
        """The payloads of the users' events, without the gateway's own events."""
        return [event.data for event in self.events if not event.type.startswith("stream.")]

    @property
    def numbers(self) -> list[int]:
        """The numbers of numbered events, in the order they came."""
        return [int(text.removeprefix('{"n":').removesuffix("}")) for text in self.data]

    @property
    def heartbeats(self) -> int:
        """How many heartbeats the present connection has had."""
        return sum(comment.strip() == "heartbeat" for comment in self._parser.comments)

    @property
    def retry(self) -> int | None:
        """The reconnection time in ms that the present connection was last told."""
        return self._parser.retry

    def own(self, name: str) -> list[str]:
        """Return the data of the gateway's own events `stream.gap` or `stream.close`."""
        return [event.data for event in self.events if event.type == f"stream.{name}"]

    async def connect(
        self, params: Params | None = None, headers: Mapping[str, str] | None = None
    ) -> Self:
        """Open the stream and begin to read it; the status tells whether there is one."""
        assert not self.is_open, "drop the connection first"
        self._params = params or []
        every = {"Accept": "text/event-stream", **(headers or {})}
        if self.token is not None:
            every["Authorization"] = f"Bearer {self.token}"
        self._parser = EventStreamParser()
        self.raw.clear()
        response = await self._session.get(self.url, params=self._params, headers=every)
        self._response = response
        self.status = response.status
        self.headers = [
            (name.decode().lower(), value.decode()) for name, value in response.raw_headers
        ]
        self._reading = asyncio.create_task(self._read(response))
        return self

    async def reconnect(self, *, url: str | None = None, token: str | None = None) -> Self:
        """Connect again with the last event id, perhaps to another worker, with the same query."""
        await self.drop()
        self.url = url or self.url
        self.token = token or self.token
        return await self.connect(self._params, {"Last-Event-ID": self.last_event_id})

    async def drop(self) -> None:
        """Cut the connection; data not read by now is lost."""
        if self._reading is not None:
            self._reading.cancel()
            with suppress(asyncio.CancelledError):
                await self._reading
            self._reading = None
        if self._response is not None:
            self._response.close()
            self._response = None

    def stall(self) -> None:
        """Stop reading."""
        self._may_read.clear()

    def go_on(self) -> None:
        """Read again."""
        self._may_read.set()

    async def wait_for(
        self, condition: int | Callable[[StreamClient], object], timeout: float = DEADLINE
    ) -> None:
        """Return when there are that many events, or the condition is true.

        Raises `AssertionError`, which shows the last events received, on timeout.
        """
        try:
            async with asyncio.timeout(timeout):
                while not self._fulfils(condition):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(
                f"not within {timeout:.0f} s; {len(self.events)} events,"
                f" {'open' if self.is_open else 'ended'}, last bytes {bytes(self.raw[-500:])!r}"
            ) from None

    async def wait_for_end(self, timeout: float = DEADLINE) -> None:
        """Return when the gateway has ended the stream."""
        await self.wait_for(lambda client: not client.is_open, timeout)

    def _fulfils(self, condition: int | Callable[[StreamClient], object]) -> bool:
        if isinstance(condition, int):
            return len(self.events) >= condition
        return bool(condition(self))

    async def _read(self, response: aiohttp.ClientResponse) -> None:
        try:
            with suppress(aiohttp.ClientError):  # a killed worker ends a stream in the middle
                while chunk := await response.content.readany():
                    await self._may_read.wait()
                    self.raw += chunk
                    self.events += self._parser.feed(chunk)
                    self.last_event_id = self._parser.last_event_id or self.last_event_id
                    self._changed.set()
        finally:
            asyncio.get_running_loop().call_soon(self._changed.set)


def _small_socket(address: Any) -> socket.socket:
    family, kind, protocol, _, _ = address
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    return sock
