"""Raw batches: the reader continues after any input and reads each record once."""

from __future__ import annotations

import struct

from gateway.kafka.fetch.batches import LARGE, unpack
from tests.brokers.batches import CODECS, Row, batch, sealed, with_bad_header, with_garbage
from tests.tools.fuzz.target import Target, joined, parts

END = 1000
HEADER_BYTES = 61
_LENGTH = slice(8, 12)


def _unpack(data: bytes) -> None:
    """Take the repairs of the batches (checksums, lengths), and the batches."""
    how, raw = parts(data, 2)
    if b"s" in how:
        raw = _mended(raw)
    skipped: list[int] = []
    position = 0
    last = -1
    for part in unpack(raw, 0, END, [(9, 0)], lambda offset, _: skipped.append(offset)):
        if part is LARGE:
            continue
        for record in part.records:
            assert last < record.offset < part.following, "each record is read once, in order"
            last = record.offset
        assert position < part.following, "each batch advances the offset"
        position = part.following
    assert len(skipped) <= len(raw), "each has at least one byte"
    if len(raw) >= HEADER_BYTES:
        length = struct.unpack(">i", raw[_LENGTH])[0]
        if len(raw) >= _LENGTH.stop + length:
            assert position > 0, "the first batch does not stop the partition"


def _mended(raw: bytes) -> bytes:
    """Return batches with valid lengths and checksums, like those of a faulty producer."""
    whole: list[bytes] = []
    for piece in raw.split(_BETWEEN):
        if len(piece) >= HEADER_BYTES:
            length = struct.pack(">i", len(piece) - _LENGTH.stop)
            whole.append(sealed(piece[: _LENGTH.start] + length + piece[_LENGTH.stop :]))
    return b"".join(whole)


_BETWEEN = b"\x1d<batch>"
_ROWS = [Row(b"key", b"value %d" % n, [("a-name", b"x")]) for n in range(4)]
_SOUND = {codec: batch(_ROWS, 4, codec) for codec in (None, *CODECS)}

BATCH = Target(
    "batch",
    _unpack,
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
