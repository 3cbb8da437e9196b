"""The careful parser of record batches: every field is checked, by index and slice only.

Reads batches that aiokafka's compiled parser rejects or must not see; see `batches.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.records import Record, UnreadableReason, make_record
from gateway.kafka.fetch.compression import CorruptError

if TYPE_CHECKING:
    from collections.abc import Callable

_VARINT_BITS = 63


def parse_records(
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
    if the broker has set timestamps, the timestamp of all records. Raises one of `FAULTS`.
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
            raise CorruptError("a record that is longer than its batch")
        delta, pos = _varint(data, pos + 1)
        timestamp = first + delta if appended is None else appended
        delta, pos = _varint(data, pos)
        offset = base + delta
        if not previous < offset <= last:
            raise CorruptError("an offset out of order")
        previous = offset
        key, pos = _bytes(data, pos, end)
        value, pos = _bytes(data, pos, end)
        number_of_headers, pos = _varint(data, pos)
        if not 0 <= number_of_headers <= end - pos:
            raise CorruptError("more headers than bytes")
        named = []
        for _ in range(number_of_headers):
            name, pos = _bytes(data, pos, end)
            content, pos = _bytes(data, pos, end)
            if name is None:
                raise CorruptError("a header without a name")
            named.append((name, content or b""))
        if pos != end:
            raise CorruptError("a record of another length")
        try:
            headers = tuple([(name.decode(), content) for name, content in named])
        except UnicodeDecodeError:
            bad_names.append(offset)
        else:
            records.append(make_record(offset, timestamp, key, value, headers))
    if pos != stop:
        raise CorruptError("more bytes than records")
    for offset in bad_names:
        skipped(offset, UnreadableReason.HEADER_NOT_UTF8)
    return records


def _bytes(data: bytes, pos: int, end: int) -> tuple[bytes | None, int]:
    size, pos = _varint(data, pos)
    if size < 0:
        return None, pos
    if size > end - pos:
        raise CorruptError("a field beyond its record")
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
            raise CorruptError("a number that does not end")
