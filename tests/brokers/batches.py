"""Record batches in log format, built by hand: valid and damaged ones."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

CODECS = {"gzip": gzip_encode, "snappy": snappy_encode, "lz4": lz4_encode, "zstd": zstd_encode}
"""In the order of their codes in a batch, from 1 on."""

# Offsets of fields in a batch of version 2 (KIP-98).
_LENGTH = slice(8, 12)
_CRC = slice(17, 21)
_ATTRIBUTES = slice(21, 23)
_RECORDS = 61


class Row(NamedTuple):
    """A record of a batch."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


def batch(
    rows: Sequence[Row],
    base: int = 0,
    codec: str | None = None,
    *,
    timestamp: int = 1_700_000_000_000,
    producer: int = -1,
    attributes: int = 0,
) -> bytes:
    """Return a batch of the rows, from offset `base` on, all of one `timestamp` (ms)."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, producer, -1, -1, 1 << 30)
    for place, row in enumerate(rows):
        assert builder.append(place, timestamp, row.key, row.value, list(row.headers))
    plain = bytearray(builder.build())
    plain[:8] = struct.pack(">q", base)
    plain[_ATTRIBUTES] = struct.pack(">h", attributes)
    return sealed(plain) if codec is None else compressed(bytes(plain), codec)


def compressed(plain: bytes, codec: str) -> bytes:
    """Return an uncompressed batch with its records compressed."""
    number = [*CODECS].index(codec) + 1
    changed = bytearray(plain[:_RECORDS] + CODECS[codec](plain[_RECORDS:]))
    changed[_LENGTH] = struct.pack(">i", len(changed) - _LENGTH.stop)
    changed[_ATTRIBUTES] = struct.pack(">h", number)
    return sealed(changed)


def sealed(changed: bytes | bytearray) -> bytes:
    """Return a batch with a checksum of its present content."""
    checksum = struct.pack(">I", calc_crc32c(bytes(changed[_ATTRIBUTES.start :])))
    return bytes(changed[: _CRC.start] + checksum + changed[_CRC.stop :])


def with_bit_flipped(sound: bytes) -> bytes:
    """Return a batch with a wrong checksum, like after a disk fault."""
    return sound[:-1] + bytes([sound[-1] ^ 1])


def with_garbage(sound: bytes) -> bytes:
    """Return a batch with a valid checksum whose records cannot be decompressed."""
    return sealed(sound[:_RECORDS] + b"\xa5" * (len(sound) - _RECORDS))


def with_bad_header(plain: bytes, name: str) -> bytes:
    """Return an uncompressed batch with a header of this name that is not UTF-8."""
    assert name.encode() in plain
    return sealed(plain.replace(name.encode(), b"\xff" * len(name)))
