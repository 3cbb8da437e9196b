"""A small in-process server of resumable streams, with selectable faults.

It keeps every event in a list, and a stream is a position in the list: without a fault it conforms
by construction.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from enum import Enum, auto
from typing import Self

from aiohttp import web
from aiohttp.test_utils import TestServer

TOKEN = "good"
HEARTBEAT_SECONDS = 0.2
BUFFERED = 16
"""Events that the buffering server collects before it sends them."""


class Fault(Enum):
    LOSES_EVENTS_AT_THE_SEAM = auto()
    REPEATS = auto()
    IGNORES_THE_ID = auto()
    BUFFERS = auto()
    FAILS_ON_MALFORMED_IDS = auto()
    HAS_NO_IDS = auto()
    IS_SILENT = auto()
    INJECTS = auto()
    CLEARS_THE_ID = auto()
    SENDS_NO_CLOSE_EVENT = auto()
    ACCEPTS_ANY_TOKEN = auto()


class StreamServer:
    """Listens on a free port while the `async with` block runs."""

    def __init__(self, fault: Fault | None = None) -> None:
        self.log: list[tuple[str, str]] = []
        self._fault = fault
        self._changed = asyncio.Condition()
        self._drains = False
        app = web.Application()
        app.add_routes([web.get("/events", self._stream, allow_head=False)])
        app.add_routes([web.post("/drain", self._drain), web.post("/publish", self._publish)])
        self._server = TestServer(app)

    async def __aenter__(self) -> Self:
        await self._server.start_server(shutdown_timeout=0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()

    @property
    def url(self) -> str:
        return str(self._server.make_url("/events"))

    @property
    def publish_url(self) -> str:
        return str(self._server.make_url("/publish"))

    @property
    def drain_url(self) -> str:
        return str(self._server.make_url("/drain"))

    async def publish(self, event_type: str, data: str) -> None:
        async with self._changed:
            self.log.append((event_type, data))
            self._changed.notify_all()

    async def _publish(self, request: web.Request) -> web.Response:
        await self.publish(request.query["type"], await request.text())
        return web.Response(status=204)

    async def _drain(self, request: web.Request) -> web.Response:
        async with self._changed:
            self._drains = True
            self._changed.notify_all()
        return web.Response(status=204)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        allowed = request.headers.get("Authorization") == f"Bearer {TOKEN}"
        if not allowed and self._fault is not Fault.ACCEPTS_ANY_TOKEN:
            return web.Response(status=401, headers={"WWW-Authenticate": "Bearer"})
        sent_id = request.headers.get("Last-Event-ID") or request.query.get("Last-Event-ID", "")
        position = self._position(sent_id)
        if sent_id and position is None and self._fault is Fault.FAILS_ON_MALFORMED_IDS:
            return web.Response(status=500)
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
        )
        with suppress(ConnectionError):  # the client disconnected
            await response.prepare(request)
            await self._serve(response, request, sent_id, position)
        return response

    async def _serve(
        self, response: web.StreamResponse, request: web.Request, sent_id: str, position: int | None
    ) -> None:
        if self._fault is Fault.CLEARS_THE_ID:
            await response.write(b": hi\n\n")
        begin = "retry: 1000\n"
        if sent_id and position is None:
            begin += "event: stream.gap\ndata: invalid\n"
        at = len(self.log) if position is None or self._fault is Fault.IGNORES_THE_ID else position
        await response.write(f"{begin}{self._id(at)}\n".encode())
        if sent_id and position is not None:
            at -= self._fault is Fault.REPEATS
            if self._fault is Fault.LOSES_EVENTS_AT_THE_SEAM:
                at = await self._write(response, request, at)
                await asyncio.sleep(0.02)
                at = len(self.log)
        await self._follow(response, request, max(at, 0))

    @property
    def _ready(self) -> int:
        """Number of events that may be sent."""
        held = len(self.log) % BUFFERED if self._fault is Fault.BUFFERS else 0
        return len(self.log) - held

    def _position(self, text: str) -> int | None:
        if not (text.startswith("e") and text[1:].isascii() and text[1:].isdigit()):
            return None
        return min(int(text[1:]), len(self.log))

    def _id(self, at: int) -> str:
        return "" if self._fault is Fault.HAS_NO_IDS else f"id: e{at}\n"

    async def _follow(self, response: web.StreamResponse, request: web.Request, at: int) -> None:
        while True:
            at = await self._write(response, request, at)
            async with self._changed:
                if self._drains:
                    break
                seen = self._ready
                with suppress(TimeoutError):
                    async with asyncio.timeout(HEARTBEAT_SECONDS):
                        await self._changed.wait()
                if self._drains or self._ready > seen:
                    continue
            if self._fault is not Fault.IS_SILENT:
                await response.write(f": heartbeat\n{self._id(at)}\n".encode())
        if self._fault is not Fault.SENDS_NO_CLOSE_EVENT:
            await response.write(b"event: stream.close\ndata: draining\n\n")

    async def _write(self, response: web.StreamResponse, request: web.Request, at: int) -> int:
        """Write the events from a position on; return the position after them."""
        only = request.query.get("only")
        while at < self._ready:
            event_type, data = self.log[at]
            at += 1
            if only in {None, event_type}:
                if self._fault is not Fault.INJECTS:
                    data = data.replace("\r\n", "\n").replace("\r", "\n")
                    data = data.replace("\n", "\ndata: ")
                frame = f"{self._id(at)}event: {event_type}\ndata: {data}\n\n"
                await response.write(frame.encode())
        return at
