"""A minimal HTTP/1.1 client (RFC 9112): it sends headers unchanged and reads only on demand.

An HTTP library would reject the invalid headers that some cases need, send tokens along redirects,
read ahead without a bound, and hide how a response ended.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from urllib.parse import urljoin, urlsplit

Headers = list[tuple[str, bytes]]

READ_BYTES = 65_536
MAX_HEAD_BYTES = 65_536
MAX_REDIRECTS = 3
CONNECT_SECONDS = 10.0

NO_BODY = {204, 304}


class Broken(Exception):
    """The connection failed or the response is not HTTP; the text gives the cause."""


class Connection:
    """A request and its response, whose body is read on demand.

    After `read` returned no bytes, `complete` is whether the body ended as HTTP requires.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str
    ) -> None:
        self.complete = False
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self._reader = reader
        self._writer = writer
        self._method = method
        self._left: int | None = None
        self._chunked = False
        self._after_chunk = False
        self._ended = False

    def header(self, name: str) -> str | None:
        """Return the first header with this name, given in lower case."""
        return next((value for known, value in self.headers if known == name), None)

    async def read(self) -> bytes:
        """Return the next bytes of the body; empty at its end. Raises `Broken`."""
        if self._ended:
            return b""
        try:
            if self._chunked and not self._left and not await self._next_chunk():
                self._ended = self.complete = True
                return b""
            if self._left == 0:
                self._ended = self.complete = True
                return b""
            data = await self._reader.read(min(READ_BYTES, self._left or READ_BYTES))
        except OSError as error:
            self._ended = True
            raise Broken(f"the connection broke: {error}") from error
        if not data:
            self._ended = True
            self.complete = self._left is None and not self._chunked
        elif self._left is not None:
            self._left -= len(data)
            if self._chunked and not self._left:
                self._left = None
                self._after_chunk = True
        return data

    async def _next_chunk(self) -> bool:
        """Read the size of the next chunk; return False for the last one."""
        try:
            if self._after_chunk:
                await self._reader.readuntil(b"\n")
                self._after_chunk = False
            line = await self._reader.readuntil(b"\n")
            self._left = int(line.partition(b";")[0], 16)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            self._ended = True
            raise Broken("the body was cut off") from error
        return bool(self._left)

    def close(self) -> None:
        """Abort the connection and discard unread data."""
        self._writer.transport.abort()

    async def request(self, target: str, host: str, headers: Headers) -> None:
        """Send the request and read the head of the response."""
        lines = [
            f"{self._method} {target} HTTP/1.1".encode(),
            b"Host: " + host.encode(),
            *(name.encode() + b": " + value for name, value in headers),
        ]
        self._writer.write(b"\r\n".join([*lines, b"", b""]))
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            raise Broken("the connection ended without a response") from error
        except asyncio.LimitOverrunError as error:
            raise Broken(f"the head of the response exceeds {MAX_HEAD_BYTES} bytes") from error
        except OSError as error:
            raise Broken(f"the connection broke: {error}") from error
        self._parse_head(head)

    def _parse_head(self, head: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        words = first.split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
            raise Broken(f"not an HTTP/1.1 response: {first[:60]!r}")
        self.status = int(words[1])
        for line in lines:
            name, _, value = line.partition(":")
            self.headers.append((name.lower(), value.strip()))
        length = self.header("content-length")
        self._chunked = "chunked" in (self.header("transfer-encoding") or "").lower()
        if self._method == "HEAD" or self.status in NO_BODY:
            self._left, self._chunked = 0, False
        elif length is not None and length.isdigit():
            self._left = int(length)


async def send(
    url: str,
    headers: Headers,
    method: str = "GET",
    receive_buffer: int | None = None,
    verify: bool = True,
) -> Connection:
    """Send a request and return once the head of the response was read.

    Redirects are followed on the same host: a balancer may redirect to a user's shard. Raises
    `Broken`.
    """
    for _ in range(MAX_REDIRECTS + 1):
        connection = await _ask(url, headers, method, receive_buffer, verify)
        target = connection.header("location")
        if not 300 <= connection.status < 400 or target is None:
            return connection
        redirected = urljoin(url, target)
        if urlsplit(redirected).hostname != urlsplit(url).hostname:
            return connection
        connection.close()
        url = redirected
    raise Broken(f"more than {MAX_REDIRECTS} redirects")


async def _ask(
    url: str, headers: Headers, method: str, receive_buffer: int | None, verify: bool
) -> Connection:
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    context: ssl.SSLContext | None = None
    if parts.scheme == "https":
        context = ssl.create_default_context()
        if not verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            sock = await _connect(host, port, receive_buffer)
            reader, writer = await asyncio.open_connection(
                sock=sock,
                limit=MAX_HEAD_BYTES,
                ssl=context,
                server_hostname=None if context is None else host,
            )
    except TimeoutError:
        raise Broken(f"no connection to {host}:{port} within {CONNECT_SECONDS:g} s") from None
    except OSError as error:
        raise Broken(f"cannot connect to {host}:{port}: {error.strerror or error}") from error
    connection = Connection(reader, writer, method)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        await connection.request(target, parts.netloc.rpartition("@")[2], headers)
    except BaseException:
        connection.close()
        raise
    return connection


async def _connect(host: str, port: int, receive_buffer: int | None) -> socket.socket:
    """Return a connected socket; the receive buffer is set before it connects."""
    loop = asyncio.get_running_loop()
    failure: OSError = OSError(f"{host} does not resolve to an address")
    for family, kind, protocol, _, address in await loop.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        with suppress(OSError):
            if receive_buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            await loop.sock_connect(sock, address)
        except OSError as error:
            failure = error
            sock.close()
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure
