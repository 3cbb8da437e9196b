"""A fuzz target: a function of external bytes, and the invariants of its result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

SEPARATOR = b"\x1e"
"""Separator between the parts of an input, which keeps a corpus readable."""


class Target(NamedTuple):
    """`check` raises any exception for a finding; it returns for rejected input."""

    name: str
    check: Callable[[bytes], None]
    seeds: Sequence[bytes]
    """Valid or nearly valid inputs to start from."""
    words: Sequence[bytes] = ()
    """Pieces with a meaning for the target."""


def parts(data: bytes, count: int) -> list[bytes]:
    """Return `count` parts of an input; the last takes the rest, missing ones are empty."""
    found = data.split(SEPARATOR, count - 1)
    return found + [b""] * (count - len(found))


def joined(*given: bytes) -> bytes:
    """Return the input with these parts."""
    return SEPARATOR.join(given)


def as_header(data: bytes) -> str:
    """Return bytes as aiohttp decodes them: invalid UTF-8 as surrogates."""
    return data.decode("utf-8", "surrogateescape")
