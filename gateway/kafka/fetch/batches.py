"""Decoding of fetched batches: all message formats, with every field verified.

The checks cover the batch length, checksum and record count, the length of each record, key, value
and header, and that offsets ascend within the range in the batch header. aiokafka's compiled parser
is tried first. It checks lengths against the end of its buffer, with two exceptions, which cannot
occur here:

- It may read a number up to 20 bytes beyond the end: 20 bytes of padding follow the batch.
- A length of almost 2^63 overflows its check: a batch that contains the bytes of such a number, or
  that the compiled parser rejects, is read by `careful.py`, in Python, by index and slice only.

An unreadable batch is skipped as a whole and reported with its offsets. Exception: a record with a
header name that is not UTF-8 is skipped alone. Formats:

| magic | format |
| --- | --- |
| 0 | message set: each message has its own offset and CRC-32; a compressed message wraps others |
| 1 | the same with timestamps; offsets inside a wrapper are relative to the wrapper's |
| 2 | record batch (KIP-98): header of 61 bytes, CRC-32C over what follows it, records in varints |

As KIP-98 requires for `read_committed`, aborted transactions and control records are left out.

A batch of 20 KB can hold 500,000 records, and one of 2 KB can decompress to 64 MiB; decoding it can
last half a second. `unpack` yields `LARGE` before such a batch, and `large_batch` decodes it in a
thread. The same holds for each compressed message of magic 0 or 1, whose header does not contain
the number of wrapped messages.
"""

from __future__ import annotations

import asyncio
import struct
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.util import calc_crc32c

from gateway.core.records import RECORD_OVERHEAD, Record, UnreadableReason, make_record
from gateway.kafka.fetch.careful import parse_records
from gateway.kafka.fetch.compression import CODEC, FAULTS, CorruptError, LargeError, decompress
from gateway.kafka.fetch.message_sets import (
    APPEND_TIME,
    NO_TIMESTAMP,
    OVERHEAD,
    RECORDS_MOST,
    unpack_message,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.core.records import TopicPartition

    Unreadable = Callable[[TopicPartition, int, UnreadableReason], None]
    """Called for each record or whole batch that is skipped: its log, first offset, reason."""
    Skipped = Callable[[int, UnreadableReason], None]

_HEADER = struct.Struct(">qiibIhiqqqhii")
"""Header of magic 2."""
_Header = tuple[int, int, int, int, int, int, int, int, int, int, int, int, int]
_LONG, _MARKER, _ATTRIBUTES = struct.Struct(">q"), struct.Struct(">hh"), struct.Struct(">h")

_MAGIC = 2
_MAGIC_AT, _CRC_FROM = 16, 21
_TRANSACTIONAL, _CONTROL = 0x10, 0x20
_ABORT = 0

_OVERFLOWING = b"\xff\xff\xff\xff\x01"
"""Bytes in every varint that exceeds 2^63 - 1 when added to an index."""
_PADDING = bytes(32)

_OFFSET_MOST = 1 << 62
"""Maximum base offset. The checksum does not cover it; near 2^63 the next fetch would overflow."""


SLICE = 500
"""Work before a yield to the event loop, in records: some milliseconds."""

BATCH_WORK = 2
"""Work for a batch besides its records, of which it may have none."""

LARGE_RECORDS = 2_000
"""A batch of more records is large: some 2 ms."""

LARGE_BYTES = 16_384
"""A compressed batch of more bytes is large, because its content may be 1,000 times as long. The
default of producers' `batch.size` is not."""


class Batch(msgspec.Struct, gc=False):
    """The decoded records of one batch. `following` is the offset to fetch next."""

    records: list[Record]
    following: int
    epoch: int
    """Leader epoch in which the batch was written; -1: unknown."""


LARGE = Batch([], -1, -1)
"""Stands for a large batch that follows: see `large_batch`."""


class _Aborted:
    """The aborted transactions of a response (KIP-98).

    `transactions` are the producer id and first offset of each. `producers` are the ones whose
    transactional records are aborted at the present offset.
    """

    def __init__(self, transactions: Sequence[tuple[int, int]]) -> None:
        self._pending = sorted(transactions, key=lambda each: each[1], reverse=True)
        self.producers: set[int] = set()

    def advance(self, last: int) -> set[int]:
        """Begin the transactions up to this offset; return `producers`."""
        while self._pending and self._pending[-1][1] <= last:
            self.producers.add(self._pending.pop()[0])
        return self.producers


def unpack(
    data: bytes,
    position: int,
    end: int,
    aborted: Sequence[tuple[int, int]],
    skipped: Skipped,
) -> Iterator[Batch]:
    """Return the batches of a partition's records from offset `position` on, and `LARGE`.

    `end` is the high watermark: a corrupt batch never advances the position beyond it. Valid
    batches may, because a broker looks up the high watermark before it reads. `aborted` are the
    producer id and first offset of aborted transactions. `skipped` is called with the first offset
    of each unreadable record or batch and the reason, after `LARGE` only once the batch was
    yielded. A last batch that the broker has truncated is left to the next fetch.
    """
    batch = None if aborted else _only_batch(data, position, skipped)
    if batch is not None:
        return iter((batch,))
    return _unpack(data, position, end, _Aborted(aborted), skipped)


def _only_batch(data: bytes, position: int, skipped: Skipped) -> Batch | None:
    """Return the batch if it is the only one and as usual: most fetches return such a batch."""
    size = len(data)
    if not _HEADER.size <= size <= LARGE_BYTES:
        return None
    header = _HEADER.unpack_from(data)
    base, length, magic, number = header[0], header[1], header[3], header[-1]
    if (
        magic != _MAGIC
        or length != size - OVERHEAD.size
        or number > LARGE_RECORDS
        or not position <= base < _OFFSET_MOST
    ):
        return None
    try:
        return _batch(data, 0, size, header, None, skipped, quick=True)
    except LargeError:
        return None


def _unpack(
    data: bytes, position: int, end: int, transactions: _Aborted, skipped: Skipped
) -> Iterator[Batch]:
    start = position
    at, size, whole = 0, len(data), _HEADER.size
    while size - at > _MAGIC_AT:
        header: _Header | None = None
        if size - at >= whole:
            header = _HEADER.unpack_from(data, at)
            base, length = header[:2]
        else:
            base, length = OVERHEAD.unpack_from(data, at)
        stop = at + OVERHEAD.size + length
        if stop > size:
            break
        if length <= _MAGIC_AT - OVERHEAD.size:  # the start of the next batch is unknown
            skipped(position, UnreadableReason.CORRUPT)
            yield Batch([], position + 1, -1)
            return
        magic = data[at + _MAGIC_AT]
        if magic != _MAGIC or stop - at < whole:
            header = None
        valid = 0 <= base < _OFFSET_MOST
        if not valid:
            base, header = position, None
        report = skipped
        late: list[tuple[int, UnreadableReason]] = []
        batch, large = None, _is_large(data, at, stop, header)
        if header is not None and not large:
            try:
                batch = _batch(data, at, stop, header, transactions, report, quick=True)
            except LargeError:
                large = True
        if large:
            report = partial(_append, late)
            yield LARGE
        if header is not None and large:
            batch = _batch(data, at, stop, header, transactions, report)
        elif valid and magic < _MAGIC:
            batch = _message(data, at, stop, report)
        if batch is None:
            report(base, UnreadableReason.CORRUPT)
            following = _next_base(data, stop, position, end)
            if header is not None and header[6] >= 0:
                following = min(base + header[6] + 1, following)
            batch = Batch([], following, -1)
        records = batch.records
        if records and records[0].offset < position:  # the batch begins before the position
            batch.records = [record for record in records if record.offset >= position]
        at = stop
        if batch.following > position:
            position = batch.following
            yield batch
        for offset, reason in late:
            skipped(offset, reason)
    if at and position == start:  # complete batches, but none advances the position
        skipped(position, UnreadableReason.CORRUPT)
        yield Batch([], position + 1, -1)


async def large_batch(batches: Iterator[Batch]) -> Batch | None:
    """Return the batch that follows `LARGE`, decoded in a thread; None at the end."""
    batch: Batch | None = LARGE
    while batch is LARGE:
        batch = await asyncio.to_thread(next, batches, None)
    return batch


def _is_large(data: bytes, at: int, stop: int, header: _Header | None) -> bool:
    size = stop - at
    if header is None:
        compressed = size > _MAGIC_AT + 1 and data[at + _MAGIC_AT + 1] & CODEC
        return size > LARGE_BYTES or bool(compressed)
    return header[-1] > LARGE_RECORDS or (size > LARGE_BYTES and bool(header[5] & CODEC))


def _append(
    late: list[tuple[int, UnreadableReason]], offset: int, reason: UnreadableReason
) -> None:
    late.append((offset, reason))


def _next_base(data: bytes, stop: int, position: int, end: int) -> int:
    """Return the offset to fetch after an unreadable batch: the base of the next one, or `end`."""
    following = end
    if len(data) - stop >= OVERHEAD.size:
        following = OVERHEAD.unpack_from(data, stop)[0]
    return following if position < following <= end else position + 1


def _message(data: bytes, at: int, stop: int, skipped: Skipped) -> Batch:
    """Unpack a message of magic 0 or 1."""
    offset = _LONG.unpack_from(data, at)[0]
    try:
        return Batch(unpack_message(data, at, stop), offset + 1, -1)
    except FAULTS:
        skipped(offset, UnreadableReason.CORRUPT)
        return Batch([], offset + 1, -1)


def _batch(
    data: bytes,
    at: int,
    stop: int,
    header: _Header,
    transactions: _Aborted | None,
    skipped: Skipped,
    *,
    quick: bool = False,
) -> Batch | None:
    """Unpack a batch of magic 2; None if it cannot be read.

    With `quick` raises `LargeError` before anything is reported.
    """
    base, _, epoch, _, crc, attributes, delta, first, newest, producer, _, _, number = header
    last = base + delta
    is_aborted = transactions is not None and producer in transactions.advance(last)
    is_control = attributes & _CONTROL
    try:
        if calc_crc32c(memoryview(data)[at + _CRC_FROM : stop]) != crc:
            raise CorruptError("wrong checksum")
        if delta < 0:
            raise CorruptError("wrong offsets")
        if number > RECORDS_MOST:
            raise CorruptError("too many records")
        if is_aborted and attributes & _TRANSACTIONAL and not is_control:
            return Batch([], last + 1, epoch)
        codec = attributes & CODEC
        if codec:
            head = data[at : at + _HEADER.size]
            payload = decompress(codec, data[at + _HEADER.size : stop], quick=quick)
            plain = _ATTRIBUTES.pack(attributes & ~CODEC)
            data = b"".join([head[:_CRC_FROM], plain, head[_CRC_FROM + 2 :], payload, _PADDING])
            at, stop = 0, _HEADER.size + len(payload)
        elif len(data) - stop < len(_PADDING):
            data = data[at:stop] + _PADDING
            at, stop = 0, stop - at
        try:
            records = _compiled(data, at, stop, base, last)
        except (*FAULTS, CorruptRecordException):
            times = (first, newest if attributes & APPEND_TIME else None)
            start = at + _HEADER.size
            records = parse_records(data, start, stop, (base, last), times, number, skipped)
        if not is_control:
            return Batch(records, last + 1, epoch)
        # The log cleaner leaves control batches without records.
        is_abort = not records or _MARKER.unpack_from(records[0].key or b"")[1] == _ABORT
        if is_abort and transactions is not None:
            transactions.producers.discard(producer)
        return Batch([], last + 1, epoch)
    except FAULTS:
        if is_control and transactions is not None:
            # Treat it as an abort: a commit does not change the producer's state.
            transactions.producers.discard(producer)
        return None


def _compiled(data: bytes, at: int, stop: int, base: int, last: int) -> list[Record]:
    """Return the records of an uncompressed batch that is followed by padding.

    Raises one of `FAULTS` or `CorruptRecordException`.
    """
    if data.find(_OVERFLOWING, at, stop) >= 0:
        raise CorruptError("a number near 2^63")
    overhead = RECORD_OVERHEAD
    records: list[Record] = []
    add = records.append
    previous = base - 1
    for each in DefaultRecordBatch(memoryview(data)[at:stop]):
        offset, key, value, headers = each.offset, each.key, each.value, each.headers
        if not previous < offset <= last:
            raise CorruptError("an offset out of order")
        previous, timestamp = offset, each.timestamp
        if headers or key is None or value is None or timestamp is None:
            named = tuple([(name, content or b"") for name, content in headers])
            if timestamp is None:
                timestamp = NO_TIMESTAMP
            add(make_record(offset, timestamp, key, value, named))
        else:
            add(Record(offset, timestamp, key, value, (), overhead + len(key) + len(value)))
    return records
