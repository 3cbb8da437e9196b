"""What is fuzzed: a function that takes bytes from outside, and what must be true of its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SEPARATOR = b"\x1e"
"""Between the parts of an input, where a target takes several; so a corpus can be read."""


class Target(NamedTuple):
    """`check` raises for a finding, whatever it raises; for input that is refused it returns."""

    name: str
    check: Callable[[bytes], None]
    seeds: Sequence[bytes]
    """Inputs that are good, or nearly so: where an engine begins."""
    words: Sequence[bytes] = ()
    """Pieces that mean something to what is fuzzed."""


def parts(data: bytes, count: int) -> list[bytes]:
    """Return so many parts of an input; the last one takes what is left, missing ones are empty."""
    found = data.split(SEPARATOR, count - 1)
    return found + [b""] * (count - len(found))


def joined(*given: bytes) -> bytes:
    """Return the input that has these parts."""
    return SEPARATOR.join(given)


def as_header(data: bytes) -> str:
    """Return bytes as aiohttp hands on what a client sends: what is no UTF-8 as surrogates."""
    return data.decode("utf-8", "surrogateescape")
