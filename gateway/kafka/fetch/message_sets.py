"""Decoding of messages of magic 0 and 1, with every field verified.

A compressed message wraps others; with magic 1 their offsets are relative to the wrapper's.
"""

from __future__ import annotations

import struct
import zlib

from gateway.core.records import Record, make_record
from gateway.kafka.fetch.compression import CODEC, CorruptError, decompress

OVERHEAD = struct.Struct(">qi")
"""First offset of a batch or message, and the number of bytes that follow."""

APPEND_TIME = 0x08
"""Attribute of a batch or message: the broker has set the timestamp."""

NO_TIMESTAMP = -1

RECORDS_MOST = 1 << 19
"""Maximum records in a batch: empty records compress to almost nothing, but use memory here."""

_MESSAGE = struct.Struct(">qiIbb")
"""Head of a message: offset, length, CRC-32, magic, attributes."""
_CRC_FROM = 16
_LONG, _INT = struct.Struct(">q"), struct.Struct(">i")


def unpack_message(data: bytes, at: int, stop: int) -> list[Record]:
    """Return the record of a message, or those of the messages that it wraps.

    Raises one of `FAULTS`.
    """
    record, attributes, magic = _message(data, at, stop)
    codec = attributes & CODEC
    if not codec:
        return [record]
    return _wrapped(decompress(codec, record.value or b""), record, attributes, magic)


def _wrapped(data: bytes, wrapper: Record, attributes: int, magic: int) -> list[Record]:
    """Return the messages inside a wrapper; its offset is that of the last message."""
    records: list[Record] = []
    pos = 0
    while pos < len(data):
        length = OVERHEAD.unpack_from(data, pos)[1]
        stop = pos + OVERHEAD.size + length
        if length < 0 or stop > len(data):
            raise CorruptError("a message beyond its wrapper")
        record, inner, _ = _message(data, pos, stop)
        if inner & CODEC:
            raise CorruptError("a wrapper inside a wrapper")
        records.append(record)
        if len(records) > RECORDS_MOST:
            raise CorruptError("too many messages")
        pos = stop
    if not records:
        raise CorruptError("an empty wrapper")
    shift = wrapper.offset - records[-1].offset if magic else 0
    previous = -1
    for record in records:
        record.offset += shift
        if attributes & APPEND_TIME:
            record.timestamp = wrapper.timestamp
        if not previous < record.offset <= wrapper.offset:
            raise CorruptError("an offset out of order")
        previous = record.offset
    return records


def _message(data: bytes, at: int, stop: int) -> tuple[Record, int, int]:
    """Return one message, its attributes and its magic."""
    if stop - at < _MESSAGE.size:
        raise CorruptError("a message that is too short")
    offset, _, crc, magic, attributes = _MESSAGE.unpack_from(data, at)
    if zlib.crc32(data[at + _CRC_FROM : stop]) != crc:
        raise CorruptError("wrong checksum")
    pos = at + _MESSAGE.size
    timestamp = NO_TIMESTAMP
    if magic:
        timestamp = _LONG.unpack_from(data, pos)[0]
        pos += _LONG.size
    key, pos = _field(data, pos, stop)
    value, pos = _field(data, pos, stop)
    if pos != stop:
        raise CorruptError("a message of another length")
    return make_record(offset, timestamp, key, value), attributes, magic


def _field(data: bytes, pos: int, stop: int) -> tuple[bytes | None, int]:
    size = _INT.unpack_from(data, pos)[0]
    pos += _INT.size
    if size < 0:
        return None, pos
    if size > stop - pos:
        raise CorruptError("a field beyond its message")
    return data[pos : pos + size], pos + size
