"""A client under control of a case: it reads only while the case waits for something.

Unread data stays with the server.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from gateway.conformance.parser import Block, Parser
from gateway.conformance.verdict import fail
from gateway.conformance.wire import Broken, Connection, Headers, send

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.conformance.options import Options

BUSY = {429, 503}
"""Statuses that may carry `Retry-After` (RFC 6585 §4, RFC 9110 §15.6.4)."""

MAX_WAITS = 3
MAX_WAIT_SECONDS = 10.0


class Listener:
    """One client; received events are kept across its connections.

    `last_event_id` is the id that a browser would send: it is kept if the present connection sent
    no id.
    """

    def __init__(self, options: Options, receive_buffer: int | None = None) -> None:
        self.events: list[Block] = []
        self.blocks: list[Block] = []
        self.last_event_id = ""
        self.ended = True
        self.parser = Parser()
        self._begin = 0
        self._options = options
        self._receive_buffer = receive_buffer
        self._connection: Connection | None = None

    @property
    def connection(self) -> Connection:
        """The present connection."""
        assert self._connection is not None, "open it first"
        return self._connection

    async def open(
        self,
        last_event_id: str | bytes | None = None,
        *,
        by_query: str | None = None,
        query: str = "",
    ) -> Self:
        """Connect, with or without an id; fail the case if no stream opens."""
        connection = await self.ask(last_event_id, by_query=by_query, query=query)
        if connection.status != 200:
            self.drop()
            fail(f"the response is {connection.status}, not a stream")
        kind = (connection.header("content-type") or "").partition(";")[0].strip().lower()
        if kind != "text/event-stream":
            self.drop()
            fail(f"the response has {kind or 'no content type'}, not text/event-stream")
        return self

    async def ask(
        self,
        last_event_id: str | bytes | None = None,
        *,
        by_query: str | None = None,
        query: str = "",
        method: str = "GET",
        token: str | None = "",
    ) -> Connection:
        """Connect and accept any response; retry while the server is busy."""
        self.drop()
        options = self._options
        parts = [query] if query else []
        if by_query is not None:
            parts.append(f"{quote(options.id_param)}={quote(by_query)}")
        url = options.url + ("&" if "?" in options.url else "?") * bool(parts) + "&".join(parts)
        headers: Headers = [("Accept", b"text/event-stream")]
        headers += [(name, value.encode()) for name, value in options.headers]
        token = options.token if token == "" else token
        if token is not None:
            headers.append(("Authorization", f"Bearer {token}".encode()))
        if last_event_id is not None:
            text = last_event_id.encode() if isinstance(last_event_id, str) else last_event_id
            headers.append(("Last-Event-ID", text))
        for _ in range(MAX_WAITS):
            connection = await self._send(url, headers, method)
            wait = connection.header("retry-after") or ""
            if connection.status not in BUSY or not wait.isdigit():
                break
            if float(wait) > MAX_WAIT_SECONDS:
                break
            connection.close()
            await asyncio.sleep(float(wait))
        self._connection = connection
        self.parser = Parser()
        self._begin = len(self.blocks)
        self.ended = False
        return connection

    async def _send(self, url: str, headers: Headers, method: str) -> Connection:
        try:
            async with asyncio.timeout(self._options.limits.event_seconds):
                return await send(url, headers, method, self._receive_buffer, self._options.verify)
        except Broken as error:
            fail(str(error))
        except TimeoutError:
            fail(f"no response within {self._options.limits.event_seconds:g} s")

    @property
    def greeted_with_id(self) -> bool:
        """Whether the present connection sent an id before its first event."""
        for block in self.blocks[self._begin :]:
            if block.data is not None:
                return False
            if block.id:
                return True
        return False

    async def resume(self) -> Self:
        """Drop the connection and reconnect with the last id."""
        return await self.open(self.last_event_id or None)

    def drop(self) -> None:
        """Abort the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self.ended = True

    async def wait_for(
        self, condition: Callable[[], object], subject: str, seconds: float | None = None
    ) -> None:
        """Read until the condition is true; fail the case after `seconds`."""
        seconds = self._options.limits.event_seconds if seconds is None else seconds
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    if self.ended:
                        fail(f"the stream ended before {subject}")
                    await self.read()
        except TimeoutError:
            fail(f"{subject} did not arrive within {seconds:g} s")

    async def listen(self, seconds: float) -> None:
        """Read for `seconds`, or until the stream ends."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.ended:
                    await self.read()

    async def read(self) -> None:
        """Read the available bytes, or wait for the next ones."""
        try:
            data = await self.connection.read()
        except Broken:
            data = b""
        if not data:
            self.ended = True
        for block in self.parser.feed(data):
            self.blocks.append(block)
            self.last_event_id = block.last_event_id or self.last_event_id
            if block.data is not None:
                self.events.append(block)
