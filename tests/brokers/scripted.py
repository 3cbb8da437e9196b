"""A scripted server that speaks Kafka's protocol."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, Self

from gateway.kafka.client.wire import array_head, string, uvarint

VERSIONS = {1: (4, 17), 2: (1, 10), 3: (0, 13), 18: (0, 4), 23: (2, 4)}
"""The default versions of the server."""


class Request(NamedTuple):
    """A received request; `body` begins with the rest of the header."""

    api_key: int
    version: int
    correlation_id: int
    body: bytes


class ScriptedServer:
    """Listens while the `async with` block runs.

    `answer` returns the response to a request, with its header and without its length; None: no
    response. ApiVersions is answered with `versions`. `requests` has all received requests.
    """

    def __init__(
        self,
        answer: Callable[[Request], bytes | None] = lambda _: None,
        versions: dict[int, tuple[int, int]] | None = None,
    ) -> None:
        self.answer = answer
        self.versions = VERSIONS if versions is None else versions
        self.requests: list[Request] = []
        self.silent = False
        """Whether the server answers nothing, not even ApiVersions."""
        self.writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self.writers:
            writer.transport.abort()
        await self._server.wait_closed()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def count(self, api_key: int) -> int:
        return sum(request.api_key == api_key for request in self.requests)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                frame = await reader.readexactly(size)
                request = Request._make((*struct.unpack_from(">hhi", frame), frame[8:]))
                self.requests.append(request)
                response = (
                    self._versions(request) if request.api_key == 18 else self.answer(request)
                )
                if response is not None and not self.silent:
                    writer.write(struct.pack(">i", len(response)) + response)
        except (asyncio.IncompleteReadError, OSError):
            writer.transport.abort()

    def _versions(self, request: Request) -> bytes:
        head = struct.pack(">ihi", request.correlation_id, 0, len(self.versions))
        return head + b"".join(
            struct.pack(">hhh", key, *limits) for key, limits in self.versions.items()
        )


def describe_cluster(
    request: Request, port: int, leaders: Mapping[str, int] = MappingProxyType({})
) -> bytes:
    """Answer Metadata v12: broker 1 at `port`, topics of one partition with their leaders."""
    names = leaders
    parts = [
        struct.pack(">ib", request.correlation_id, 0),
        struct.pack(">i", 0) + array_head(1, flexible=True),
        struct.pack(">i", 1) + string("127.0.0.1", flexible=True) + struct.pack(">i", port),
        uvarint(0) + b"\x00" + string("a-cluster", flexible=True) + struct.pack(">i", 1),
        array_head(len(names), flexible=True),
    ]
    for name, leader in names.items():
        parts += [
            struct.pack(">h", 0) + string(name, flexible=True) + bytes(16) + b"\x00",
            array_head(1, flexible=True)
            + struct.pack(">hiii", 0 if leader >= 0 else 5, 0, leader, 7),
            array_head(0, flexible=True) * 3 + b"\x00" + struct.pack(">i", 0) + b"\x00",
        ]
    return b"".join([*parts, b"\x00"])
