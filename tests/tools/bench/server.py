"""The servers that clients connect to: how to request a stream, and how to detect that it is live.

The bare server of `floor` accepts any request and sends the gateway's greeting.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from tests.tokens import mint


class Server(NamedTuple):
    """Address of a server, and the root of its process tree."""

    port: int
    pid: int
    ops_port: int = 0


class Dialect(Enum):
    """How to request a stream; the stream is live after the block that contains `greeting`."""

    GATEWAY = "gateway", "/api/v1/events", b"id: "
    NCHAN = "nchan", "/sub/{user}", b": hi"
    NCHAN_BROADCAST = "nchan-broadcast", "/sub/broadcasts", b": hi"

    def __init__(self, title: str, path: str, greeting: bytes) -> None:
        self.title = title
        self.path = path
        self.greeting = greeting

    @classmethod
    def named(cls, title: str) -> Dialect:
        """Return the dialect with this title."""
        return next(each for each in cls if each.title == title)

    def request(self, user: str, last_id: bytes = b"") -> bytes:
        """Return the bytes of a request, which resumes from an id if given."""
        lines = [
            b"GET %b HTTP/1.1" % self.path.format(user=user).encode(),
            b"Host: bench",
            b"Accept: text/event-stream",
        ]
        if self is Dialect.GATEWAY:
            lines.append(b"Authorization: Bearer %b" % mint(user).encode())
        if last_id:
            lines.append(b"Last-Event-ID: %b" % last_id)
        return b"\r\n".join([*lines, b"", b""])
