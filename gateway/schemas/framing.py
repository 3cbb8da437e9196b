"""Framing of values: which schema a record was written with, and where its payload begins.

    value                                          | header `__value_schema_id`
    -----------------------------------------------+--------------------------------------------
    0, schema id (4 bytes), payload                | absent
    1, schema GUID (16 bytes), payload             | absent
    payload                                        | 0, schema id (4 bytes)
    payload                                        | 1, schema GUID (16 bytes)

With Protobuf the id is followed by the path of the message type in its file: the number of indexes
and the indexes, as zigzag varints; a number of 0 stands for the first type. Source: Confluent's
wire format, as `confluent-kafka` 2.16 writes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from gateway.schemas.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Iterable

HEADER = "__value_schema_id"

MAX_NESTING = 32
"""Nested message types in the path of a Protobuf message type."""

_ID_END, _GUID_END = 5, 17

SchemaId = int | UUID
"""The id or the GUID of a schema in its registry."""


class Framed(NamedTuple):
    """A value without its frame; `path` selects the message type, with Protobuf only."""

    schema: SchemaId
    payload: bytes
    path: tuple[int, ...] = ()


def schema_of(value: bytes, headers: Iterable[tuple[str, bytes]]) -> SchemaId | None:
    """Return the schema with which a value was written; None if it is not framed."""
    frame = _frame(value, headers)
    if frame[:1] == b"\0" and len(frame) >= _ID_END:
        return int.from_bytes(frame[1:_ID_END], "big")
    if frame[:1] == b"\1" and len(frame) >= _GUID_END:
        return UUID(bytes=frame[1:_GUID_END])
    return None


def unframe(
    value: bytes, headers: Iterable[tuple[str, bytes]], *, has_path: bool = False
) -> Framed | None:
    """Return the value without its frame; None if it is not framed.

    `has_path` is true for Protobuf. Raises `Malformed` for an invalid path.
    """
    frame = _frame(value, headers)
    schema = schema_of(frame, ())
    if schema is None:
        return None
    end = _ID_END if isinstance(schema, int) else _GUID_END
    path: tuple[int, ...] = ()
    if has_path:
        path, end = _path(frame, end)
    return Framed(schema, frame[end:] if frame is value else value, path)


def _frame(value: bytes, headers: Iterable[tuple[str, bytes]]) -> bytes:
    """Return the bytes that begin with the schema id: the last header of the name, or the value."""
    frame = value
    for name, content in headers:
        if name == HEADER:
            frame = content
    return frame


def _path(frame: bytes, at: int) -> tuple[tuple[int, ...], int]:
    """Return the path that begins at `at`, and where it ends."""
    number, at = _varint(frame, at)
    if not 0 <= number <= MAX_NESTING:
        raise Malformed("the path of the message type is invalid")
    path = []
    for _ in range(number):
        index, at = _varint(frame, at)
        path.append(index)
    return tuple(path) or (0,), at


def _varint(frame: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(frame) and shift < 35:
        byte = frame[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
        shift += 7
    raise Malformed("the path of the message type is invalid")
