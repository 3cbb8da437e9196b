"""Connections on their way to aiohttp's handler."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from gateway.http.transport.http_handler import HttpHandler

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from gateway.http.transport.opening_quota import OpeningQuota

    Open = Callable[[asyncio.Transport, bytes], bool]

SILENT_SECONDS = 1.0
"""How long a TLS connection may be silent until aiohttp gets it, with its own time limits; without
TLS the kernel waits as long for the first bytes."""


class Entrance(asyncio.Protocol):
    """A connection until asyncio's transport exists: `handler` gets it, with `data`."""

    def __init__(self, handler: asyncio.Protocol, data: bytes) -> None:
        self._handler = handler
        self._data = data

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Pass the connection on."""
        assert isinstance(transport, asyncio.Transport)
        pass_on(transport, self._handler, self._data)


class TlsEntrances:
    """TLS connections that have not sent a request yet, or wait for their turn to open.

    `open_stream` opens a stream with the first bytes of a connection; False: nothing was done.
    asyncio reads all connections that have sent something in one turn of the event loop.
    """

    def __init__(self, server: web.Server, quota: OpeningQuota, open_stream: Open) -> None:
        self.server = server
        self._quota = quota
        self.open_stream = open_stream
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[TlsEntrance] = deque()
        self.entrances: set[TlsEntrance] = set()

    def open_soon(self, entrance: TlsEntrance) -> None:
        """Let a connection try to open a stream, now or in one of the next turns."""
        self._waiting.append(entrance)
        if len(self._waiting) == 1:
            self._open()

    def close(self) -> None:
        """Abort all connections that are waiting."""
        for entrance in list(self.entrances):
            entrance.abort()

    def _open(self) -> None:
        while self._waiting:
            if not self._quota.has_room():
                self._loop.call_soon(self._open)
                return
            self._waiting.popleft().open()


class TlsEntrance(asyncio.Protocol):
    """A TLS connection until its first bytes, with which a stream may open at once.

    aiohttp gets every other connection: its handler, task and timers cost as much as the rest of an
    opening.
    """

    def __init__(self, entrances: TlsEntrances) -> None:
        self._entrances = entrances
        self._transport: asyncio.Transport | None = None
        self._silence: asyncio.TimerHandle | None = None
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first bytes."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._entrances.entrances.add(self)
        self._silence = asyncio.get_running_loop().call_later(SILENT_SECONDS, self._pass_on)

    def data_received(self, data: bytes) -> None:
        """Open a stream, or pass the connection on."""
        is_first = not self._data
        self._data += data
        if is_first:
            self._entrances.open_soon(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget the client, which has gone without an answer."""
        self._forget()
        self._transport = None

    def open(self) -> None:
        """Open a stream, or pass the connection on; no effect if it is lost or passed on."""
        transport = self._transport
        if transport is None or transport.get_protocol() is not self:
            return
        opened = False
        try:
            opened = self._entrances.open_stream(transport, self._data)
        finally:  # also at a defect, which is aiohttp's to answer
            self._forget()
            if not opened and transport.get_protocol() is not self:
                transport.abort()
            elif not opened:
                self._pass_on()

    def abort(self) -> None:
        """Close the connection now."""
        assert self._transport is not None
        self._transport.abort()

    def _forget(self) -> None:
        self._entrances.entrances.discard(self)
        assert self._silence is not None
        self._silence.cancel()

    def _pass_on(self) -> None:
        assert self._transport is not None
        self._forget()
        pass_on(self._transport, HttpHandler(self._entrances.server), self._data)


def pass_on(transport: asyncio.Transport, handler: asyncio.Protocol, data: bytes) -> None:
    """Give a connection to `handler`, which begins with the bytes received so far."""
    transport.set_protocol(handler)
    handler.connection_made(transport)
    if data:
        handler.data_received(data)
