"""A client that sees every byte, reads only on request, and can disconnect in every way."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from tests.eventually import DEADLINE

SMALL_BUFFER = 4096
"""Bytes of a socket's buffers, so that few events fill them."""

TIMEOUT = DEADLINE

A_REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

GREETING = re.compile(rb"retry: \d+\nid: 1u")
"""The first chunk of a stream; its reconnect delay differs between streams."""


class RawClient:
    """One connection; everything that waits gives up after `TIMEOUT` seconds."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def request(
        self,
        target: str,
        *,
        method: str = "GET",
        version: str = "1.1",
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        behind: bytes = b"",
    ) -> None:
        """Send a request; `behind` are bytes that follow it in the same packet."""
        every = {"Host": "gateway.test", **(headers or {})}
        if token is not None:
            every["Authorization"] = f"Bearer {token}"
        lines = [f"{method} {target} HTTP/{version}", *(f"{k}: {v}" for k, v in every.items())]
        await self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + behind)

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        async with asyncio.timeout(TIMEOUT):
            await self._writer.drain()

    async def head(self) -> bytes:
        """Return a response up to its body."""
        async with asyncio.timeout(TIMEOUT):
            return await self._reader.readuntil(b"\r\n\r\n")

    async def chunk(self) -> bytes:
        """Return the content of the next chunk; empty: it was the last one (RFC 9112, §7.1)."""
        async with asyncio.timeout(TIMEOUT):
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            content = await self._reader.readexactly(size)
            assert await self._reader.readexactly(2) == b"\r\n"
            return content

    async def response(self) -> bytes:
        """Return a response that says how long its body is."""
        head = await self.head()
        length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
        async with asyncio.timeout(TIMEOUT):
            return head + await self._reader.readexactly(length)

    async def rest(self) -> bytes:
        """Return everything up to the end of the connection."""
        async with asyncio.timeout(TIMEOUT):
            return await self._reader.read()

    def finish(self) -> None:
        """Close the sending half of the connection."""
        self._writer.write_eof()

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()

    def reset(self) -> None:
        """Break the connection off: the other side gets a RST."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


@asynccontextmanager
async def connected(
    port: int,
    context: ssl.SSLContext | None = None,
    *,
    host: str = "127.0.0.1",
    sock: socket.socket | None = None,
) -> AsyncIterator[RawClient]:
    """Connect, by `sock` if it is given; the connection is closed when the block ends."""
    if sock is None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    sock.setblocking(False)
    async with asyncio.timeout(TIMEOUT):
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
        reader, writer = await asyncio.open_connection(
            sock=sock,
            limit=SMALL_BUFFER,
            ssl=context,
            server_hostname=None if context is None else "gateway.test",
        )
    try:
        yield RawClient(reader, writer)
    finally:
        writer.transport.abort()
