"""What a broker sends, looked through for what aiokafka cannot read, before aiokafka reads it.

aiokafka raises for a batch whose checksum fails, that cannot be decompressed, or that has a header
whose name is no UTF-8. It never gets past it (its issue 321), and with the error it drops what it
had unpacked for other partitions. So such a batch is replaced here by one that it can read: the
records that are sound, in a batch that ends where the old one did. Without any it is what Kafka's
own cleaner leaves of a batch, so that nobody has to know: readers go on behind it, as behind every
hole.

To look a batch through is to unpack it once more, which costs 0.3 µs a record, so only what is
fetched within some seconds of such an error is. Batches of the versions before KIP-98, which Kafka
4 has no more, are left as they are.
"""

from __future__ import annotations

import struct
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import cramjam
from aiokafka.codec import gzip_decode, lz4_decode, snappy_decode, zstd_decode
from aiokafka.errors import CorruptRecordException, KafkaError
from aiokafka.record.control_record import ControlRecord
from aiokafka.record.default_records import DefaultRecordBase, DefaultRecordBatch
from aiokafka.record.util import calc_crc32c, decode_varint

from gateway.core.event import UnreadableReason
from gateway.core.log import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Unreadable = Callable[[Log, int, UnreadableReason], None]
    """Who is told of each record, or whole batch, that was left out: its log, offset, reason."""

_OVERHEAD = struct.Struct(">qi")
"""What every batch begins with: its first offset, and how many bytes follow."""

_MAGIC = 16
"""Where a batch says which version of the format it is in."""

_COVERED = 21
"""From where on a batch is covered by its checksum."""

_CODECS = {
    DefaultRecordBase.CODEC_NONE: bytes,
    DefaultRecordBase.CODEC_GZIP: gzip_decode,
    DefaultRecordBase.CODEC_SNAPPY: snappy_decode,
    DefaultRecordBase.CODEC_LZ4: lz4_decode,
    DefaultRecordBase.CODEC_ZSTD: zstd_decode,
}

_ABORT = b"\x14\x00\x00\x00\x08\x00\x00\x00\x00\x01\x00"
"""The record of a marker at the end of an aborted transaction: a key of two zeros (KIP-98)."""

FAULTS = (
    KafkaError,  # aiokafka's own: broken structure, unknown codec
    ValueError,  # a number that does not end; UnicodeDecodeError for the name of a header
    OSError,  # gzip's header
    EOFError,  # gzip's end
    zlib.error,
    cramjam.DecompressionError,
    struct.error,  # snappy's blocks
    LookupError,  # a number that is cut off; our own table of codecs
    OverflowError,  # a length that no memory has
    MemoryError,
    TypeError,  # a marker without a key
)
"""What aiokafka raises for batches that are changed at random, and then some."""


class _Header(NamedTuple):
    """What a batch of version 2 begins with (KIP-98)."""

    base_offset: int
    length: int = 0
    leader_epoch: int = -1
    magic: int = 2
    crc: int = 0
    attributes: int = 0
    last_offset_delta: int = 0
    first_timestamp: int = 0
    max_timestamp: int = 0
    producer_id: int = -1
    producer_epoch: int = -1
    base_sequence: int = -1
    number: int = 0

    @classmethod
    def of(cls, batch: memoryview) -> _Header:
        """Return a batch's header."""
        return cls(*DefaultRecordBase.HEADER_STRUCT.unpack_from(batch))

    def batch(self, *records: bytes) -> bytes:
        """Return a batch with this header and these records, uncompressed."""
        body = b"".join(records)
        header = self._replace(
            length=DefaultRecordBase.HEADER_STRUCT.size - _OVERHEAD.size + len(body),
            attributes=self.attributes & ~DefaultRecordBase.CODEC_MASK,
            number=len(records),
        )
        covered = bytes(DefaultRecordBase.HEADER_STRUCT.pack(*header))[_COVERED:] + body
        header = header._replace(crc=calc_crc32c(covered))
        return bytes(DefaultRecordBase.HEADER_STRUCT.pack(*header)) + body


def ignore(log: Log, offset: int, reason: UnreadableReason) -> None:
    """Take no note of what is left out: for those who only look."""


def screen(response: Any, unreadable: Unreadable) -> None:
    """Replace, in the answer to a fetch, what aiokafka cannot read; `unreadable` is told of it."""
    for topic, partitions in response.topics:
        for place, (partition, *others, data) in enumerate(partitions):
            left_out = partial(unreadable, Log(topic, partition))
            _, end, *_ = others
            partitions[place] = (partition, *others, screened(data or b"", end, left_out))


def screened(data: bytes, end: int, left_out: Callable[[int, UnreadableReason], None]) -> bytes:
    """Return fetched batches as they are, but for those that aiokafka cannot read.

    `end` is the log's end, which no batch goes beyond, whatever its header says. `left_out` is told
    the offset of each record that is missing; where it cannot be known, the first of its batch.
    """
    view = memoryview(data)
    parts: list[bytes] = []
    done = 0
    for start, stop in _bounds(data):
        batch = view[start:stop]
        if _is_sound(batch):
            continue
        following = end
        if len(data) - stop >= _OVERHEAD.size:
            following = _OVERHEAD.unpack_from(data, stop)[0]
        parts += [data[done:start], _replacement(batch, following, left_out)]
        done = stop
    return b"".join([*parts, data[done:]]) if parts else data


def _bounds(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each whole batch starts and stops; a broker may cut the last one off."""
    start = 0
    while start + DefaultRecordBase.HEADER_STRUCT.size <= len(data) and data[start + _MAGIC] == 2:
        stop = start + _OVERHEAD.size + _OVERHEAD.unpack_from(data, start)[1]
        if stop < start + DefaultRecordBase.HEADER_STRUCT.size or stop > len(data):
            return
        yield start, stop
        start = stop


def _is_sound(batch: memoryview) -> bool:
    unpacked = DefaultRecordBatch(batch)
    try:
        if not unpacked.validate_crc():
            return False
        records = list(unpacked)
        if unpacked.is_control_batch:  # aiokafka reads the first record, which must be there
            ControlRecord.parse(records[0].key)
    except FAULTS:
        return False
    return True


def _replacement(
    batch: memoryview, following: int, left_out: Callable[[int, UnreadableReason], None]
) -> bytes:
    """Return a batch that ends where this one does, with those of its records that are sound.

    `following` is the offset that it ends before.
    """
    header = _Header.of(batch)
    is_marker = bool(header.attributes & DefaultRecordBase.CONTROL_MASK)
    is_intact = DefaultRecordBatch(batch).validate_crc()
    if is_intact and not is_marker:
        try:
            codec = _CODECS[header.attributes & DefaultRecordBase.CODEC_MASK]
            payload = codec(batch[DefaultRecordBase.HEADER_STRUCT.size :].tobytes())
        except FAULTS:
            pass
        else:
            return header.batch(*_sound_records(header, payload, left_out))
    is_emptied = is_intact and is_marker and not header.number
    if not is_emptied:  # Kafka's cleaner empties markers too, and then nothing is missing
        left_out(header.base_offset, UnreadableReason.CORRUPT)
    last = min(header.last_offset_delta, following - header.base_offset - 1)
    header = header._replace(last_offset_delta=max(0, last))
    if is_marker:
        # It has ended a transaction. Had that one not been aborted, nobody waits for its end; if it
        # was, aiokafka must be told, or it takes the producer's next one for aborted as well.
        return header.batch(_ABORT)
    return header.batch()


def _sound_records(
    header: _Header, payload: bytes, left_out: Callable[[int, UnreadableReason], None]
) -> list[bytes]:
    """Return the records that can be read; behind a broken one no other can be told from chance."""
    sound: list[bytes] = []
    offset, position = header.base_offset, 0
    try:
        for _ in range(header.number):
            # aiokafka's compiled `decode_varint` reads wherever it is told to, and would crash.
            length, start = decode_varint(payload, position)
            if not 0 < length <= len(payload) - start:
                raise CorruptRecordException("a record that is longer than its batch")
            _, after_timestamp = decode_varint(payload, start + 1)
            if after_timestamp >= start + length:
                raise CorruptRecordException("a record that ends in its timestamp")
            offset = header.base_offset + decode_varint(payload, after_timestamp)[0]
            record = payload[position : start + length]
            try:
                for _ in DefaultRecordBatch(header.batch(record)):
                    position = start + length
                sound.append(record)
            except UnicodeDecodeError:
                position = start + length
                left_out(offset, UnreadableReason.HEADER_NOT_UTF8)
        if position != len(payload):
            raise CorruptRecordException("more bytes than records")
    except FAULTS:
        left_out(offset, UnreadableReason.CORRUPT)
    return sound
