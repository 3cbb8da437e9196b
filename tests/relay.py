"""A network that a test owns: passes bytes between clients and a server, until told otherwise."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self

PIECE = 1 << 16


class Relay:
    """Listens on a free port of the loopback address, and connects each client to `port`.

    `accepted` counts the connections that clients have made; `heard` is the end of the data that
    the server has sent on the last connection.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._open: set[asyncio.StreamWriter] = set()
        self._last_words = b""
        self._passing = asyncio.Event()
        self._passing.set()
        self._connections: set[asyncio.Task[None]] = set()
        self.accepted = 0
        self.heard = b""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.thaw()
        self.cut()
        await asyncio.gather(*self._connections)
        await self._server.wait_closed()

    def cut(self) -> None:
        """End every connection at once, with a reset, in the middle of whatever it is."""
        self.heard = b""
        for writer in self._open:
            writer.transport.abort()

    def cut_behind(self, words: bytes) -> None:
        """Cut when the server has said these words the next time; they still pass."""
        self._last_words = words

    def freeze(self) -> None:
        """Pass nothing on any more, of connections to come neither, and say nothing."""
        self._passing.clear()

    def thaw(self) -> None:
        """Pass everything on again."""
        self._passing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.heard = b""
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self._open.add(writer)
        try:
            with suppress(OSError):
                there = await asyncio.open_connection("127.0.0.1", self._target)
                self._open.add(there[1])
                try:
                    async with asyncio.TaskGroup() as both:
                        both.create_task(self._pass(reader, there[1], to_client=False))
                        both.create_task(self._pass(there[0], writer, to_client=True))
                finally:
                    self._open.discard(there[1])
                    there[1].transport.abort()
        finally:
            self._connections.discard(task)
            self._open.discard(writer)
            writer.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_client: bool
    ) -> None:
        """Pass bytes on in one direction, to its end."""
        with suppress(OSError):
            while data := await reader.read(PIECE):
                await self._passing.wait()
                if writer.is_closing():  # it was cut meanwhile
                    return
                if to_client and self._last_words and self._last_words in data:
                    said, words, _ = data.partition(self._last_words)
                    self._last_words = b""
                    writer.write(said + words)
                    await writer.drain()
                    writer.write_eof()  # after this what was written still arrives
                    self.cut()
                    return
                if to_client:
                    self.heard = (self.heard + data)[-PIECE:]
                writer.write(data)
                await writer.drain()
            writer.write_eof()
