"""A relay between clients and a worker: it records requests and responses, and can cut them."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import Self

from tests.child import free_port
from tests.eventually import eventually

PIECE = 1 << 16
ID = re.compile(rb"^id: (\S+)", re.MULTILINE)


class Relay:
    """Passes every connection on to a port of this machine, while the `async with` block runs."""

    def __init__(self, target: int, host: str = "127.0.0.1") -> None:
        self._host = host
        self._target = target
        self.port = free_port()
        self.requests: list[dict[str, str]] = []
        """Of each request for a stream its headers, in lower case, and its `target`."""
        self.last_id = ""
        """The last id that went to a client."""
        self.beats = 0
        """How many heartbeats went to clients."""
        self.streams = 0
        """How many connections that carry a stream are open."""
        self.is_away = False
        """Whether connections are closed as soon as they come."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self._host, self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Cut every connection, as a network that is gone does."""
        for writer in self._writers:
            writer.transport.abort()

    async def until_streams(self, count: int) -> None:
        await eventually(f"{count} streams are open", lambda: self.streams == count)

    async def until_requests(self, count: int) -> None:
        await eventually(f"{count} streams were asked for", lambda: len(self.requests) >= count)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.is_away:
            writer.transport.abort()
            return
        back, forth = await asyncio.open_connection("127.0.0.1", self._target)
        both = {writer, forth}
        self._writers |= both
        carries = asyncio.Event()
        try:
            with suppress(ConnectionError):
                ways = [
                    asyncio.ensure_future(self._up(reader, forth, carries)),
                    asyncio.ensure_future(self._down(back, writer, carries)),
                ]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            self.streams -= carries.is_set()
            self._writers -= both
            for each in both:
                each.transport.abort() if self.is_away else each.close()

    async def _up(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, carries: asyncio.Event
    ) -> None:
        while piece := await reader.read(PIECE):
            if piece.startswith(b"GET /api/v1/events"):
                lines = piece.decode("latin-1").split("\r\n")
                headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
                request = {name.lower(): value for name, value in headers.items()}
                self.requests.append({**request, "target": lines[0].split(" ")[1]})
            writer.write(piece)

    async def _down(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, carries: asyncio.Event
    ) -> None:
        while piece := await reader.read(PIECE):
            if b"text/event-stream\r\n" in piece:
                carries.set()
                self.streams += 1
            if carries.is_set() and (ids := ID.findall(piece)):
                self.last_id = ids[-1].decode()
                self.beats += piece.count(b": heartbeat\n")
            writer.write(piece)
