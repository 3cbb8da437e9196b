"""Whom a client speaks to: how a stream is asked for, and how it is known to be followed.

The bare server of `floor` takes any request, and greets as the gateway does.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from tests.tokens import mint


class Server(NamedTuple):
    """Where a server listens, and the process whose tree is its own."""

    port: int
    pid: int
    ops_port: int = 0


class Dialect(Enum):
    """A way to ask for a stream; `greeting` is in the block behind which nothing is missed."""

    GATEWAY = "gateway", "/api/v1/events", b"id: "
    NCHAN = "nchan", "/sub/{user}", b": hi"
    NCHAN_BROADCAST = "nchan-broadcast", "/sub/everybody", b": hi"

    def __init__(self, title: str, path: str, greeting: bytes) -> None:
        self.title = title
        self.path = path
        self.greeting = greeting

    @classmethod
    def named(cls, title: str) -> Dialect:
        """Return the dialect with this title."""
        return next(each for each in cls if each.title == title)

    def request(self, user: str, last_id: bytes = b"") -> bytes:
        """Return the bytes of a request, which goes on behind an id if there is one."""
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
