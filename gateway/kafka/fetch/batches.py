"""Decoding of fetched batches: all message formats, with every field verified.

The checks cover the batch length, checksum and record count, the length of each record, key, value
and header, and that offsets ascend within the range in the batch header. aiokafka's compiled parser
is tried first. It checks lengths against the end of its buffer, with two exceptions, which cannot
occur here:

- It may read a number up to 20 bytes beyond the end: 20 bytes of padding follow the batch.
- A length of almost 2^63 overflows its check: a batch that contains the bytes of such a number, or
  that the compiled parser rejects, is read by `_records`, in Python, by index and slice only.

An unreadable batch is skipped as a whole and reported with its offsets. Exception: a record with a
header name that is not UTF-8 is skipped alone. Formats:

| magic | format |
| --- | --- |
| 0 | message set: each message has its own offset and CRC-32; a compressed message wraps others |
| 1 | the same with timestamps; offsets inside a wrapper are relative to the wrapper's |
| 2 | record batch (KIP-98): header of 61 bytes, CRC-32C over what follows it, records in varints |

As KIP-98 requires for `read_committed`, aborted transactions and control records are left out.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

import cramjam
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.util import calc_crc32c

from gateway.core.records import RECORD_OVERHEAD, Record, UnreadableReason, make_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.core.records import TopicPartition

    Unreadable = Callable[[TopicPartition, int, UnreadableReason], None]
    """Called for each record or whole batch that is skipped: its log, first offset, reason."""

_OVERHEAD = struct.Struct(">qi")
"""First offset of a batch, and the number of bytes that follow."""
_HEADER = struct.Struct(">qiibIhiqqqhii")
"""Header of magic 2."""
_MESSAGE = struct.Struct(">qiIbb")
"""Head of a message of magic 0 and 1: offset, length, CRC-32, magic, attributes."""
_LONG, _INT, _MARKER = struct.Struct(">q"), struct.Struct(">i"), struct.Struct(">hh")
_ATTRIBUTES = struct.Struct(">h")

_MAGIC_AT, _CRC_FROM, _MESSAGE_CRC_FROM = 16, 21, 16
_CODEC, _APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
_ABORT = 0
_NO_TIMESTAMP = -1

_VARINT_BITS = 63
_OVERFLOWING = b"\xff\xff\xff\xff\x01"
"""Bytes in every varint that exceeds 2^63 - 1 when added to an index."""
_PADDING = bytes(32)

_UNPACKED_MOST = 64 << 20
"""Maximum size of a decompressed batch in bytes: a small batch may expand to gigabytes."""

_RECORDS_MOST = 1 << 19
"""Maximum records in a batch: empty records compress to almost nothing, but use memory here."""

_FIRST_GUESS, _GROWTH = 4096, 8
"""First buffer: `_FIRST_GUESS` + `_GROWTH` x data size; each retry multiplies it by `_GROWTH`."""

_OFFSET_MOST = 1 << 62
"""Maximum base offset. The checksum does not cover it; near 2^63 the next fetch would overflow."""

_XERIAL = b"\x82SNAPPY\x00"
"""Magic of framed snappy data; two version numbers and length-prefixed blocks follow."""
_XERIAL_HEAD = 16

_PLAIN, _GZIP, _SNAPPY, _LZ4, _ZSTD = range(5)


def _gunzip(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(31)
    unpacked = unpacker.decompress(data, _UNPACKED_MOST)
    if not unpacker.eof:
        raise _CorruptError("gzip data that does not end")
    return unpacked


def _decompress_by(
    decompress_into: Callable[[bytes, bytearray], int],
) -> Callable[[bytes], bytes]:
    """Return a decompressor into buffers that grow up to the limit."""

    def decompress(data: bytes) -> bytes:
        room = min(_UNPACKED_MOST, _FIRST_GUESS + _GROWTH * len(data))
        while True:
            buffer = bytearray(room)
            try:
                size = decompress_into(data, buffer)
            except cramjam.DecompressionError:  # raised both for a small buffer and for bad data
                if room == _UNPACKED_MOST:
                    raise
                room = min(_UNPACKED_MOST, _GROWTH * room)
            else:
                return bytes(memoryview(buffer)[:size])

    return decompress


def _unsnap(data: bytes) -> bytes:
    if not data.startswith(_XERIAL):
        return _unsnap_block(data, _UNPACKED_MOST)
    blocks: list[bytes] = []
    at, room = _XERIAL_HEAD, _UNPACKED_MOST
    while at < len(data):
        (size,) = _INT.unpack_from(data, at)
        at += _INT.size
        if not 0 <= size <= len(data) - at:
            raise _CorruptError("a block beyond its batch")
        blocks.append(_unsnap_block(data[at : at + size], room))
        room -= len(blocks[-1])
        at += size
    return b"".join(blocks)


def _unsnap_block(data: bytes, room: int) -> bytes:
    if cramjam.snappy.decompress_raw_len(data) > room:
        raise _CorruptError("snappy data that is too large")
    return bytes(cramjam.snappy.decompress_raw(data))


_CODECS: dict[int, Callable[[bytes], bytes]] = {
    _PLAIN: bytes,
    _GZIP: _gunzip,
    _SNAPPY: _unsnap,
    _LZ4: _decompress_by(cramjam.lz4.decompress_into),
    _ZSTD: _decompress_by(cramjam.zstd.decompress_into),
}


class _CorruptError(ValueError):
    """A batch whose content contradicts its header."""


_FAULTS = (
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


class Batch(NamedTuple):
    """The decoded records of one batch. `following` is the offset to fetch next."""

    records: list[Record]
    following: int
    epoch: int
    """Leader epoch in which the batch was written; -1: unknown."""


def unpack(
    data: bytes,
    position: int,
    end: int,
    aborted: Sequence[tuple[int, int]],
    skipped: Callable[[int, UnreadableReason], None],
) -> Iterator[Batch]:
    """Yield the batches of a partition's records from offset `position` on.

    `end` is the high watermark: a corrupt batch never advances the position beyond it. Valid
    batches may, because a broker looks up the high watermark before it reads. `aborted` are the
    producer id and first offset of aborted transactions. `skipped` is called with the first offset
    of each unreadable record or batch and the reason. A last batch that the broker has truncated is
    left to the next fetch.
    """
    pending: list[tuple[int, int]] = []
    if aborted:
        pending = sorted(aborted, key=lambda transaction: transaction[1], reverse=True)
    producers: set[int] = set()
    start = position
    at, size = 0, len(data)
    while size - at > _MAGIC_AT:
        base, length = _OVERHEAD.unpack_from(data, at)
        stop = at + _OVERHEAD.size + length
        if stop > size:
            break
        if length <= _MAGIC_AT - _OVERHEAD.size:  # the start of the next batch is unknown
            skipped(position, UnreadableReason.CORRUPT)
            yield Batch([], position + 1, -1)
            return
        magic = data[at + _MAGIC_AT]
        following = end
        if size - stop >= _OVERHEAD.size:
            following = _OVERHEAD.unpack_from(data, stop)[0]
        if not position < following <= end:
            following = position + 1
        if not 0 <= base < _OFFSET_MOST:
            base, batch = position, None
        elif magic == 2:
            batch = _batch(data, at, stop, following, pending, producers, skipped)
        elif magic < 2:
            batch = _messages(data, at, stop, skipped)
        else:
            batch = None
        if batch is None:
            skipped(base, UnreadableReason.CORRUPT)
            batch = Batch([], following, -1)
        records = batch.records
        if records and records[0].offset < position:  # the batch begins before the position
            records = [record for record in records if record.offset >= position]
            batch = batch._replace(records=records)
        at = stop
        if batch.following > position:
            position = batch.following
            yield batch
    if at and position == start:  # complete batches, but none advances the position
        skipped(position, UnreadableReason.CORRUPT)
        yield Batch([], position + 1, -1)


def _batch(
    data: bytes,
    at: int,
    stop: int,
    following: int,
    pending: list[tuple[int, int]],
    producers: set[int],
    skipped: Callable[[int, UnreadableReason], None],
) -> Batch:
    """Unpack a batch of magic 2."""
    if stop - at < _HEADER.size:
        skipped(_LONG.unpack_from(data, at)[0], UnreadableReason.CORRUPT)
        return Batch([], following, -1)
    (base, _, epoch, _, crc, attributes, delta, first, newest, producer, _, _, number) = (
        _HEADER.unpack_from(data, at)
    )
    last = base + delta
    while pending and pending[-1][1] <= last:
        producers.add(pending.pop()[0])
    is_control = attributes & _CONTROL
    try:
        if calc_crc32c(memoryview(data)[at + _CRC_FROM : stop]) != crc:
            raise _CorruptError("wrong checksum")
        if delta < 0:
            raise _CorruptError("wrong offsets")
        if number > _RECORDS_MOST:
            raise _CorruptError("too many records")
        if attributes & _TRANSACTIONAL and producer in producers and not is_control:
            return Batch([], last + 1, epoch)
        codec = attributes & _CODEC
        if codec:
            head = data[at : at + _HEADER.size]
            payload = bytes(_CODECS[codec](data[at + _HEADER.size : stop]))
            plain = _ATTRIBUTES.pack(attributes & ~_CODEC)
            data = b"".join([head[:_CRC_FROM], plain, head[_CRC_FROM + 2 :], payload, _PADDING])
            at, stop = 0, _HEADER.size + len(payload)
        elif len(data) - stop < len(_PADDING):
            data = data[at:stop] + _PADDING
            at, stop = 0, stop - at
        try:
            records = _compiled(data, at, stop, base, last)
        except (*_FAULTS, CorruptRecordException):
            times = (first, newest if attributes & _APPEND_TIME else None)
            start = at + _HEADER.size
            records = _records(data, start, stop, (base, last), times, number, skipped)
        if not is_control:
            return Batch(records, last + 1, epoch)
        # The log cleaner leaves control batches without records.
        if not records or _MARKER.unpack_from(records[0].key or b"")[1] == _ABORT:
            producers.discard(producer)
        return Batch([], last + 1, epoch)
    except _FAULTS:
        skipped(base, UnreadableReason.CORRUPT)
        if is_control:  # treat it as an abort: a commit does not change the producer's state
            producers.discard(producer)
        return Batch([], min(last + 1, following) if delta >= 0 else following, -1)


def _compiled(data: bytes, at: int, stop: int, base: int, last: int) -> list[Record]:
    """Return the records of an uncompressed batch that is followed by padding.

    Raises one of `_FAULTS` or `CorruptRecordException`.
    """
    if data.find(_OVERFLOWING, at, stop) >= 0:
        raise _CorruptError("a number near 2^63")
    overhead = RECORD_OVERHEAD
    records: list[Record] = []
    add = records.append
    previous = base - 1
    for each in DefaultRecordBatch(memoryview(data)[at:stop]):
        offset, key, value, headers = each.offset, each.key, each.value, each.headers
        if not previous < offset <= last:
            raise _CorruptError("an offset out of order")
        previous = offset
        timestamp = each.timestamp
        if timestamp is None:
            timestamp = _NO_TIMESTAMP
        if headers or key is None or value is None:
            named = tuple([(name, content or b"") for name, content in headers])
            add(make_record(offset, timestamp, key, value, named))
        else:
            add(Record(offset, timestamp, key, value, (), overhead + len(key) + len(value)))
    return records


def _records(
    data: bytes,
    pos: int,
    stop: int,
    offsets: tuple[int, int],
    times: tuple[int, int | None],
    number: int,
    skipped: Callable[[int, UnreadableReason], None],
) -> list[Record]:
    """Decode the records between two indexes of decompressed data, with all checks.

    `offsets` are the first and last offset in the batch header, `times` its first timestamp and,
    if the broker has set timestamps, the timestamp of all records. Raises one of `_FAULTS`.
    """
    base, last = offsets
    first, appended = times
    records: list[Record] = []
    bad_names: list[int] = []
    previous = base - 1
    for _ in range(number):
        size, pos = _varint(data, pos)
        end = pos + size
        if not pos < end <= stop:
            raise _CorruptError("a record that is longer than its batch")
        delta, pos = _varint(data, pos + 1)
        timestamp = first + delta if appended is None else appended
        delta, pos = _varint(data, pos)
        offset = base + delta
        if not previous < offset <= last:
            raise _CorruptError("an offset out of order")
        previous = offset
        key, pos = _bytes(data, pos, end)
        value, pos = _bytes(data, pos, end)
        number_of_headers, pos = _varint(data, pos)
        if not 0 <= number_of_headers <= end - pos:
            raise _CorruptError("more headers than bytes")
        named = []
        for _ in range(number_of_headers):
            name, pos = _bytes(data, pos, end)
            content, pos = _bytes(data, pos, end)
            if name is None:
                raise _CorruptError("a header without a name")
            named.append((name, content or b""))
        if pos != end:
            raise _CorruptError("a record of another length")
        try:
            headers = tuple([(name.decode(), content) for name, content in named])
        except UnicodeDecodeError:
            bad_names.append(offset)
        else:
            records.append(make_record(offset, timestamp, key, value, headers))
    if pos != stop:
        raise _CorruptError("more bytes than records")
    for offset in bad_names:
        skipped(offset, UnreadableReason.HEADER_NOT_UTF8)
    return records


def _bytes(data: bytes, pos: int, end: int) -> tuple[bytes | None, int]:
    size, pos = _varint(data, pos)
    if size < 0:
        return None, pos
    if size > end - pos:
        raise _CorruptError("a field beyond its record")
    return data[pos : pos + size], pos + size


def _varint(data: bytes, pos: int) -> tuple[int, int]:
    """Return the zigzag varint at an index, and the index after it."""
    number = shift = 0
    while True:
        byte = data[pos]
        pos += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number >> 1 ^ -(number & 1), pos
        shift += 7
        if shift > _VARINT_BITS:
            raise _CorruptError("a number that does not end")


def _messages(
    data: bytes,
    at: int,
    stop: int,
    skipped: Callable[[int, UnreadableReason], None],
) -> Batch:
    """Unpack a message of magic 0 or 1, and its wrapped messages."""
    offset = _LONG.unpack_from(data, at)[0]
    try:
        record, attributes, magic = _message(data, at, stop)
        codec = attributes & _CODEC
        if not codec:
            return Batch([record], offset + 1, -1)
        wrapped = bytes(_CODECS[codec](record.value or b""))
        records = _wrapped(wrapped, record, attributes, magic)
    except _FAULTS:
        skipped(offset, UnreadableReason.CORRUPT)
        records = []
    return Batch(records, offset + 1, -1)


def _wrapped(data: bytes, wrapper: Record, attributes: int, magic: int) -> list[Record]:
    """Return the messages inside a wrapper; its offset is that of the last message."""
    records: list[Record] = []
    pos = 0
    while pos < len(data):
        length = _OVERHEAD.unpack_from(data, pos)[1]
        stop = pos + _OVERHEAD.size + length
        if length < 0 or stop > len(data):
            raise _CorruptError("a message beyond its wrapper")
        record, inner, _ = _message(data, pos, stop)
        if inner & _CODEC:
            raise _CorruptError("a wrapper inside a wrapper")
        records.append(record)
        if len(records) > _RECORDS_MOST:
            raise _CorruptError("too many messages")
        pos = stop
    if not records:
        raise _CorruptError("an empty wrapper")
    shift = wrapper.offset - records[-1].offset if magic else 0
    previous = -1
    for record in records:
        record.offset += shift
        if attributes & _APPEND_TIME:
            record.timestamp = wrapper.timestamp
        if not previous < record.offset <= wrapper.offset:
            raise _CorruptError("an offset out of order")
        previous = record.offset
    return records


def _message(data: bytes, at: int, stop: int) -> tuple[Record, int, int]:
    """Return one message, its attributes and its magic."""
    if stop - at < _MESSAGE.size:
        raise _CorruptError("a message that is too short")
    offset, _, crc, magic, attributes = _MESSAGE.unpack_from(data, at)
    if zlib.crc32(data[at + _MESSAGE_CRC_FROM : stop]) != crc:
        raise _CorruptError("wrong checksum")
    pos = at + _MESSAGE.size
    timestamp = _NO_TIMESTAMP
    if magic:
        timestamp = _LONG.unpack_from(data, pos)[0]
        pos += _LONG.size
    key, pos = _field(data, pos, stop)
    value, pos = _field(data, pos, stop)
    if pos != stop:
        raise _CorruptError("a message of another length")
    return make_record(offset, timestamp, key, value), attributes, magic


def _field(data: bytes, pos: int, stop: int) -> tuple[bytes | None, int]:
    size = _INT.unpack_from(data, pos)[0]
    pos += _INT.size
    if size < 0:
        return None, pos
    if size > stop - pos:
        raise _CorruptError("a field beyond its message")
    return data[pos : pos + size], pos + size
