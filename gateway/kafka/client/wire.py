"""Primitive types of Kafka's protocol: numbers, strings, arrays, tagged fields.

From some version on a request is *flexible* (KIP-482): strings and arrays are compact (a varint of
length + 1 comes first), and every structure ends with tagged fields. `Reader` and the encoding
functions have an argument `flexible`, and one piece of code serves all versions of a request.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import builtins
    from collections.abc import Mapping

PRODUCE = 0
FETCH = 1
LIST_OFFSETS = 2
METADATA = 3
SASL_HANDSHAKE = 17
API_VERSIONS = 18
CREATE_TOPICS = 19
INIT_PRODUCER_ID = 22
DESCRIBE_CONFIGS = 32
SASL_AUTHENTICATE = 36

FLEXIBLE_SINCE = {FETCH: 12, LIST_OFFSETS: 6, METADATA: 9, SASL_AUTHENTICATE: 2}
"""The first flexible version of each request; requests that are not listed are never flexible."""

NO_TAGS = b"\x00"
"""An empty set of tagged fields."""

UVARINT_BITS = 28
"""Bits before the last byte of a 32-bit number."""

_INT16, _INT32, _INT64 = (struct.Struct(f">{code}") for code in "hiq")


def is_flexible(api_key: int, version: int) -> bool:
    """Return whether the request, the response and their headers are flexible."""
    return version >= FLEXIBLE_SINCE.get(api_key, version + 1)


def uvarint(value: int) -> bytes:
    """Return an unsigned varint: seven bits per byte, lowest bits first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def string(text: str, flexible: bool) -> bytes:
    """Return a string, compact if the request is flexible."""
    data = text.encode()
    return (uvarint(len(data) + 1) if flexible else _INT16.pack(len(data))) + data


def array_head(count: int, flexible: bool) -> bytes:
    """Return the length prefix of an array, compact if the request is flexible."""
    return uvarint(count + 1) if flexible else _INT32.pack(count)


def supported(versions: Mapping[int, tuple[int, int]], api_key: int, most: int) -> int | None:
    """Return the highest version up to `most` that a broker supports; None: no match.

    `versions` are those of `Connection.versions`.
    """
    lowest, highest = versions.get(api_key, (0, -1))
    version = min(highest, most)
    return version if version >= lowest else None


class Reader:
    """Reads a response body from its start; each method returns the next value.

    Methods raise one of `MALFORMED` for an invalid body.
    """

    __slots__ = ("at", "data", "flexible")

    def __init__(self, data: bytes, flexible: bool, at: int = 0) -> None:
        self.data = data
        self.flexible = flexible
        self.at = at

    def int8(self) -> int:
        """Return an unsigned byte."""
        value = self.data[self.at]
        self.at += 1
        return value

    def int16(self) -> int:
        """Return a signed 16-bit integer."""
        return int(self._next(_INT16))

    def int32(self) -> int:
        """Return a signed 32-bit integer."""
        return int(self._next(_INT32))

    def int64(self) -> int:
        """Return a signed 64-bit integer."""
        return int(self._next(_INT64))

    def fields(self, layout: struct.Struct) -> tuple[Any, ...]:
        """Return several values of fixed size at once."""
        found = layout.unpack_from(self.data, self.at)
        self.at += layout.size
        return found

    def raw(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        end = self.at + size
        if size < 0 or end > len(self.data):
            raise IndexError(f"{size} bytes at {self.at} of {len(self.data)}")
        value = self.data[self.at : end]
        self.at = end
        return value

    def uvarint(self) -> int:
        """Return an unsigned varint."""
        byte = self.data[self.at]
        self.at += 1
        value, shift = byte & 0x7F, 0
        while byte > 0x7F:
            byte = self.data[self.at]
            self.at += 1
            shift += 7
            value |= (byte & 0x7F) << shift
            if shift > UVARINT_BITS:
                raise IndexError("a number of more than five bytes")
        return value

    def string(self) -> str | None:
        """Return a string; None for null."""
        size = self.uvarint() - 1 if self.flexible else self.int16()
        return None if size < 0 else self.raw(size).decode()

    def bytes(self) -> bytes:
        """Return a byte string; an empty one for null."""
        size = self.uvarint() - 1 if self.flexible else self.int32()
        return self.raw(max(size, 0))

    def count(self) -> int:
        """Return the length of the array that follows; 0 for null."""
        count = self.uvarint() - 1 if self.flexible else self.int32()
        return max(count, 0)

    def skip_int32s(self) -> None:
        """Skip an array of 32-bit integers."""
        count = self.count()
        self.at += 4 * count

    def tags(self) -> dict[int, builtins.bytes]:
        """Return the tagged fields at the end of a structure; empty if not flexible."""
        if not self.flexible:
            return {}
        count = self.uvarint()
        return {self.uvarint(): self.raw(self.uvarint()) for _ in range(count)} if count else {}

    def _next(self, layout: struct.Struct) -> Any:
        (value,) = layout.unpack_from(self.data, self.at)
        self.at += layout.size
        return value


MALFORMED = (struct.error, IndexError, UnicodeDecodeError)
"""Exceptions of a `Reader` for an invalid response."""
