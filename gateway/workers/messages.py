"""Messages between supervisor and worker, over a private socket pair.

The first message is the `Assignment` of the worker, pickled; all others are JSON, one on a line.
The end of the stream means that the other process has ended: a worker drains then.
"""

from __future__ import annotations

import pickle
import struct
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    import socket

    from gateway.config import Settings

MAX_MESSAGE = 1 << 20
"""Largest message in bytes; a status has some 30 KB at most."""

_LENGTH = struct.Struct("!I")


class Assignment(NamedTuple):
    """The arguments of a worker process."""

    settings: Settings
    """Validated by the supervisor: a restart does not read a settings file edited meanwhile."""
    name: str
    slot: int
    slots: int
    ops_url: str
    """The operations listener of the supervisor, published in the fleet status."""
    listening: tuple[int, ...]
    """File descriptors of the listening sockets."""
    receiving: int
    """File descriptor of the socket by which siblings hand connections over."""
    sending: tuple[int, ...]
    """File descriptors of the sockets that lead to each slot."""
    patient: bool
    """Whether to accept connections only once it is ready: a sibling accepts them meanwhile."""


class Report(msgspec.Struct, frozen=True, tag="report"):
    """From a worker: its state, sent after each change."""

    ops_port: int
    """Port of the worker's operations listener, on loopback."""
    ready: bool
    up: bool
    reasons: tuple[dict[str, str], ...]


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """From a worker that ends because it cannot start."""

    detail: str


class Siblings(msgspec.Struct, frozen=True, tag="siblings"):
    """From the supervisor: the slots whose workers accept connections."""

    up: frozenset[int]


class Published(msgspec.Struct, frozen=True, tag="status"):
    """From a worker, and from the supervisor to its siblings: the worker's status, in JSON."""

    worker: str
    status: msgspec.Raw


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """From the supervisor: end the drain now."""


def write_assignment(sock: socket.socket, assignment: Assignment) -> None:
    """Send the first message; it fits into the buffer of the socket."""
    content = pickle.dumps(assignment)
    sock.sendall(_LENGTH.pack(len(content)) + content)


def read_assignment(sock: socket.socket) -> Assignment:
    """Return the first message. Raises `EOFError` if the supervisor has ended."""
    (length,) = _LENGTH.unpack(_exactly(sock, _LENGTH.size))
    found = pickle.loads(_exactly(sock, length))  # noqa: S301 - from the parent process only
    assert isinstance(found, Assignment)
    return found


def _exactly(sock: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        part = sock.recv(size - len(content))
        if not part:
            raise EOFError
        content += part
    return content


def encode(message: Report | Failed | Published | Siblings | Stop) -> bytes:
    """Return a message as a line."""
    return msgspec.json.encode(message) + b"\n"


def decode_for_supervisor(line: bytes) -> Report | Failed | Published:
    """Return a worker's message."""
    return msgspec.json.decode(line, type=Report | Failed | Published)


def decode_for_worker(line: bytes) -> Published | Siblings | Stop:
    """Return a supervisor's message."""
    return msgspec.json.decode(line, type=Published | Siblings | Stop)
