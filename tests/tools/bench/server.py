"""The servers that clients connect to: how to request a stream, and how to detect that it is live.

The bare server of `floor` accepts any request and sends the gateway's greeting.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from enum import Enum
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from tests.child import Child, is_listening
from tests.eventually import eventually
from tests.tokens import mint
from tests.tools.bench.readers import Block, centrifugo, durable_streams


@cache
def _token(user: str) -> bytes:
    """Return the token of a user: a client that reconnects sends the one that it has."""
    return mint(user).encode()


@cache
def _topic_token(user: str, topic: str) -> bytes:
    """Return a token for Mercure, which names the topic."""
    return mint(user, mercure={"subscribe": [topic]}).encode()


class Server(NamedTuple):
    """Address of a server, and the root of its process tree."""

    port: int
    pid: int
    ops_port: int = 0


@asynccontextmanager
async def running(command: Sequence[str], port: int, home: Path) -> AsyncIterator[Server]:
    """Run a server while the block runs; it listens on the port, and writes to `output.log`."""
    child = Child(command, home / "output.log")

    def listens() -> bool:
        assert child.exit_code is None, f"{command[0]} ended:\n{child.log()}"
        return is_listening(port)

    try:
        await eventually(f"{command[0]} listens", listens)
        yield Server(port, child.pid)
    finally:
        child.end()


class Dialect(Enum):
    """How to request a stream; the stream is live after the block that contains `greeting`.

    A greeting that ends with a line break has no empty line behind it, as Mercure's.
    """

    GATEWAY = "gateway", "/api/v1/events", b"id: "
    NCHAN = "nchan", "/sub/{user}", b": hi"
    NCHAN_BROADCAST = "nchan-broadcast", "/sub/broadcasts", b": hi"
    CENTRIFUGO = "centrifugo", "/connection/uni_sse", b'{"connect":'
    CENTRIFUGO_BROADCAST = "centrifugo-broadcast", "/connection/uni_sse", b'{"connect":'
    DURABLE = "durable-streams", "/{user}?offset={offset}&live=sse", b"event: control"
    DURABLE_BROADCAST = (
        "durable-streams-broadcast",
        "/broadcasts?offset={offset}&live=sse",
        b"event: control",
    )

    PUSHPIN = "pushpin", "/{user}", b": held"
    PUSHPIN_BROADCAST = "pushpin-broadcast", "/broadcasts", b": held"
    MERCURE = "mercure", "/.well-known/mercure?topic={user}", b"\n:\n"
    MERCURE_BROADCAST = "mercure-broadcast", "/.well-known/mercure?topic=broadcasts", b"\n:\n"

    def __init__(self, title: str, path: str, greeting: bytes) -> None:
        self.title = title
        self.path = path
        self.greeting = greeting

    @classmethod
    def named(cls, title: str) -> Dialect:
        """Return the dialect with this title."""
        return next(each for each in cls if each.title == title)

    @property
    def read(self) -> Callable[[bytes, bytes], Block] | None:
        """The reader of blocks; None: an event has an id, and its data is the payload."""
        if self.title.startswith("centrifugo"):
            return centrifugo
        return durable_streams if self.title.startswith("durable-streams") else None

    def request(self, user: str, last_id: bytes = b"") -> bytes:
        """Return the bytes of a request, which resumes from an id if given."""
        target = self.path.format(user=user, offset=last_id.decode() or "now")
        if self.read is centrifugo:
            target += f"?cf_connect={quote(self._connect(user, last_id.decode()), safe='')}"
        lines = [
            b"GET %b HTTP/1.1" % target.encode(),
            b"Host: bench",
            b"Accept: text/event-stream",
        ]
        if self is Dialect.GATEWAY:
            lines.append(b"Authorization: Bearer %b" % _token(user))
        elif self in (Dialect.MERCURE, Dialect.MERCURE_BROADCAST):
            topic = user if self is Dialect.MERCURE else "broadcasts"
            lines.append(b"Authorization: Bearer %b" % _topic_token(user, topic))
        if last_id and self.read is None:
            lines.append(b"Last-Event-ID: %b" % last_id)
        return b"\r\n".join([*lines, b"", b""])

    def _connect(self, user: str, last_id: str) -> str:
        """Return Centrifugo's connect command: a token that names the channel, and the position."""
        channel = user if self is Dialect.CENTRIFUGO else "broadcasts"
        command: dict[str, object] = {"token": mint(user, channels=[channel], iat=None)}
        if last_id:
            epoch, offset = last_id.split("/")
            position = {"recover": True, "epoch": epoch, "offset": int(offset)}
            command["subs"] = {channel: position}
        return json.dumps(command)
