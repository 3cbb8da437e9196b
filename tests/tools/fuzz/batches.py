"""Raw batches: whatever a broker sends, aiokafka reads what is left of it, and goes on."""

from __future__ import annotations

import struct

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.memory_records import MemoryRecords

from gateway.kafka.records import to_records
from gateway.kafka.screen import screened
from tests.brokers.batches import CODECS, Row, batch, sealed, with_bad_header, with_garbage
from tests.tools.fuzz.target import Target, joined, parts

END = 1000
HEADER_BYTES = 61
_LENGTH = slice(8, 12)


def _screen(data: bytes) -> None:
    """Take how to mend the batches, so that more than their checksums is looked at, and them."""
    how, raw = parts(data, 2)
    if b"s" in how:
        raw = _mended(raw)
    if not _is_fetched(raw):
        return
    left_out: list[tuple[int, str]] = []
    clean = screened(raw, END, lambda *fault: left_out.append(fault))
    assert clean != raw or not left_out, "what is told is changed"
    assert clean == raw or left_out or _has_marker(raw), "what is changed is told"
    assert len(left_out) <= len(raw), "each is at least a byte"
    again: list[tuple[int, str]] = []
    assert screened(clean, END, lambda *fault: again.append(fault)) == clean
    assert not again, "what was screened is sound"
    records = PartitionRecords(
        TopicPartition("topic", 0), MemoryRecords(clean), [], 0, None, None, False, READ_COMMITTED
    )
    to_records(records)
    assert records.next_fetch_offset is not None
    if len(raw) >= HEADER_BYTES and len(raw) >= _LENGTH.stop + struct.unpack(">i", raw[_LENGTH])[0]:
        assert records.next_fetch_offset > 0, "it does not go on behind the first batch"


def _mended(raw: bytes) -> bytes:
    """Return batches with lengths and checksums that fit: what a buggy producer would have sent."""
    whole: list[bytes] = []
    for piece in raw.split(_BETWEEN):
        if len(piece) >= HEADER_BYTES:
            length = struct.pack(">i", len(piece) - _LENGTH.stop)
            whole.append(sealed(piece[: _LENGTH.start] + length + piece[_LENGTH.stop :]))
    return b"".join(whole)


def _is_fetched(raw: bytes) -> bool:
    """Whether brokers can have sent it: batches of version 2, one after the other, the last cut.

    They check what a batch says of its offsets before they take it, whatever its records hold.
    """
    expected = 0
    while len(raw) >= HEADER_BYTES:
        base, length = struct.unpack_from(">qi", raw)
        delta = struct.unpack_from(">i", raw, 23)[0]
        if raw[16] != 2 or length < HEADER_BYTES - _LENGTH.stop:
            return False
        if not expected <= base <= base + delta < END:
            return False
        expected, raw = base + 1, raw[_LENGTH.stop + length :]
    return len(raw) < _LENGTH.stop or struct.unpack(">i", raw[_LENGTH])[0] >= HEADER_BYTES


def _has_marker(raw: bytes) -> bool:
    """Whether a batch ends a transaction: such a one may be empty, and is put right unnoticed."""
    return any(piece[22:23] and piece[22] & 0x20 for piece in raw.split(_BETWEEN))


_BETWEEN = b"\x1d<batch>"
_ROWS = [Row(b"key", b"value %d" % n, [("a-name", b"x")]) for n in range(4)]
_SOUND = {codec: batch(_ROWS, 4, codec) for codec in (None, *CODECS)}

BATCH = Target(
    "batch",
    _screen,
    [
        *(joined(b"", sound) for sound in _SOUND.values()),
        *(joined(b"s", sound) for sound in _SOUND.values()),
        joined(b"s", _SOUND[None] + _BETWEEN + batch(_ROWS, 8)),
        joined(b"s", with_bad_header(_SOUND[None], "a-name")),
        joined(b"s", with_garbage(_SOUND[None])),
        joined(b"", batch(_ROWS) + _SOUND["zstd"] + batch(_ROWS, 8)[:80]),
        joined(b"s", batch([Row(b"\0\0\0\0", b"\0" * 6)], 1, producer=9, attributes=0x30)),
    ],
    [_BETWEEN, b"\xff" * 9, b"\x80" * 3, b"\x01", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\x1f\x8b"],
)
