"""Decompression of batches: gzip, snappy (framed or not), lz4 and zstd, bounded in size.

A codec has the number that the attributes of a batch or message contain; 0: not compressed.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import cramjam

if TYPE_CHECKING:
    from collections.abc import Callable

CODEC = 0x07
"""The codec among the attributes of a batch or message."""

UNPACKED_MOST = 64 << 20
"""Maximum size of a decompressed batch in bytes: a small batch may expand to gigabytes."""

QUICK_MOST = 1 << 19
"""Maximum size that is decompressed in the event loop, in up to 2 ms."""

_FIRST_GUESS, _GROWTH = 4096, 8
"""First buffer: `_FIRST_GUESS` + `_GROWTH` x data size; each retry multiplies it by `_GROWTH`."""

_XERIAL = b"\x82SNAPPY\x00"
"""Magic of framed snappy data; two version numbers and length-prefixed blocks follow."""
_XERIAL_HEAD = 16

_INT = struct.Struct(">i")

_PLAIN, _GZIP, _SNAPPY, _LZ4, _ZSTD = range(5)


class CorruptError(ValueError):
    """A batch whose content contradicts its header."""


class LargeError(Exception):
    """Data that is corrupt, or longer than `QUICK_MOST` when decompressed."""


FAULTS = (
    ValueError,  # ours
    LookupError,  # truncated number; unknown codec
    struct.error,
    OSError,
    EOFError,
    zlib.error,
    cramjam.DecompressionError,
    OverflowError,  # a length that does not fit into an index
    MemoryError,
)
"""Exceptions of the decoder for randomly corrupted batches."""


def decompress(codec: int, data: bytes, *, quick: bool = False) -> bytes:
    """Return decompressed data. Raises one of `FAULTS`, also for an unknown codec.

    With `quick` raises `LargeError` instead, also for more than `QUICK_MOST` bytes: lz4 and zstd
    report a full buffer like corrupt data.
    """
    most = min(QUICK_MOST, UNPACKED_MOST) if quick else UNPACKED_MOST
    try:
        return bytes(_CODECS[codec](data, most))
    except FAULTS as error:
        if quick:
            raise LargeError from error
        raise


def _gunzip(data: bytes, most: int) -> bytes:
    unpacker = zlib.decompressobj(31)
    unpacked = unpacker.decompress(data, most)
    if not unpacker.eof:
        raise CorruptError("gzip data that does not end")
    return unpacked


def _decompress_by(
    decompress_into: Callable[[bytes, bytearray], int],
) -> Callable[[bytes, int], bytes]:
    """Return a decompressor into buffers that grow up to the maximum."""

    def decompress_bounded(data: bytes, most: int) -> bytes:
        room = min(most, _FIRST_GUESS + _GROWTH * len(data))
        while True:
            buffer = bytearray(room)
            try:
                size = decompress_into(data, buffer)
            except cramjam.DecompressionError:  # raised both for a small buffer and for bad data
                if room == most:
                    raise
                room = min(most, _GROWTH * room)
            else:
                return bytes(memoryview(buffer)[:size])

    return decompress_bounded


def _unsnap(data: bytes, most: int) -> bytes:
    if not data.startswith(_XERIAL):
        return _unsnap_block(data, most)
    blocks: list[bytes] = []
    at, room = _XERIAL_HEAD, most
    while at < len(data):
        (size,) = _INT.unpack_from(data, at)
        at += _INT.size
        if not 0 <= size <= len(data) - at:
            raise CorruptError("a block beyond its batch")
        blocks.append(_unsnap_block(data[at : at + size], room))
        room -= len(blocks[-1])
        at += size
    return b"".join(blocks)


def _unsnap_block(data: bytes, room: int) -> bytes:
    if cramjam.snappy.decompress_raw_len(data) > room:
        raise CorruptError("snappy data that is too large")
    return bytes(cramjam.snappy.decompress_raw(data))


_CODECS: dict[int, Callable[[bytes, int], bytes]] = {
    _GZIP: _gunzip,
    _SNAPPY: _unsnap,
    _LZ4: _decompress_by(cramjam.lz4.decompress_into),
    _ZSTD: _decompress_by(cramjam.zstd.decompress_into),
}
