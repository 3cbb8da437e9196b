"""Damaged record batches: none stops a partition, or leads it astray."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import pytest
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder

from gateway.kafka.fetch import compression
from tests.brokers.batches import (
    Row,
    batch,
    compressed,
    sealed,
    with_bad_header,
    with_bit_flipped,
    with_garbage,
)
from tests.kafka.fetch.fetched import (
    END,
    EVERY_CODEC,
    MARKER,
    TIMESTAMP,
    TRANSACTIONAL,
    Fetched,
    rows,
    with_body,
)


@pytest.mark.parametrize("codec", EVERY_CODEC)
@pytest.mark.parametrize("spoil", [with_bit_flipped, with_garbage])
def test_a_batch_that_cannot_be_read_is_skipped_whole(
    codec: str | None, spoil: Callable[[bytes], bytes]
) -> None:
    poison = spoil(batch(rows(*[b"x" * 50] * 3), 2, codec))
    fetched = Fetched(batch(rows(b"a", b"b")) + poison + batch(rows(b"c"), 5))
    assert fetched.values == [(0, b"a"), (1, b"b"), (5, b"c")]
    assert (fetched.following, fetched.skipped) == (6, [(2, "corrupt")])
    assert Fetched(poison).following == 5, "also where nothing follows it yet"


@pytest.mark.parametrize("codec", EVERY_CODEC)
def test_only_the_record_with_the_bad_header_is_left_out(codec: str | None) -> None:
    bad = Row(b"key", b"b", [("a-name", b"")])
    poison = with_bad_header(batch([*rows(b"a"), bad, *rows(b"c")], 7), "a-name")
    fetched = Fetched(poison if codec is None else compressed(poison, codec))
    assert fetched.skipped == [(8, "header_not_utf8")]
    assert (fetched.values, fetched.following) == ([(7, b"a"), (9, b"c")], 10)


@pytest.mark.parametrize("delta", [-1, -(1 << 31), (1 << 31) - 1, 500])
def test_a_damaged_header_does_not_lead_beyond_what_follows(delta: int) -> None:
    sound = batch(rows(b"a", b"b"), 4)
    poison = sound[:23] + struct.pack(">i", delta) + sound[27:]
    between = Fetched(poison + batch(rows(b"c"), 6), 4)
    assert (between.values, between.following) == ([(6, b"c")], 7)
    assert 4 < Fetched(poison, 4).following <= END


@pytest.mark.parametrize(
    ("marker", "skipped"),
    [
        (batch([], 1, producer=9, attributes=MARKER), []),  # as the cleaner leaves it
        (batch([Row(None, b"\0" * 6)], 1, producer=9, attributes=MARKER), [(1, "corrupt")]),
        (
            with_garbage(batch([Row(b"\0\0\0\0", b"\0" * 6)], 1, producer=9, attributes=MARKER)),
            [(1, "corrupt")],
        ),
        (
            with_bit_flipped(batch([Row(b"\0\0\0\0", b"")], 1, producer=9, attributes=MARKER)),
            [(1, "corrupt")],
        ),
    ],
)
def test_a_damaged_marker_still_ends_the_aborted_transaction(
    marker: bytes, skipped: list[tuple[int, str]]
) -> None:
    aborted = batch(rows(b"a"), 0, producer=9, attributes=TRANSACTIONAL)
    following = batch(rows(b"b"), 2, producer=9, attributes=TRANSACTIONAL)
    fetched = Fetched(aborted + marker + following, aborted=[(9, 0)])
    assert (fetched.values, fetched.following) == ([(2, b"b")], 3)
    assert fetched.skipped == skipped


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", [0, 1, 2])
def test_damaged_records_of_old_formats_are_skipped(magic: int, codec: int) -> None:
    chance = random.Random(f"{magic} {codec}")
    builder = LegacyRecordBatchBuilder(magic, codec, 100_000)
    for offset in range(3):
        builder.append(offset, TIMESTAMP, b"key", b"%d" % offset)
    sound = bytes(builder.build())
    first = 12 + struct.unpack_from(">i", sound, 8)[0]
    for _ in range(300):
        data = bytearray(sound)
        data[chance.randrange(12, first)] = chance.randrange(256)
        data[16] = magic
        fetched = Fetched(bytes(data) + batch(rows(b"new"), 13))
        assert fetched.values[-1] == (13, b"new")


def test_a_format_of_the_future_is_skipped_and_reported() -> None:
    future = bytearray(batch(rows(b"a")))
    future[16] = 3
    fetched = Fetched(bytes(future) + batch(rows(b"b"), 1))
    assert (fetched.values, fetched.skipped) == ([(1, b"b")], [(0, "corrupt")])


@pytest.mark.parametrize("length", [-1, 0, 4, 48])
def test_a_batch_without_a_usable_length_does_not_stop_the_partition(length: int) -> None:
    data = batch(rows(b"a"), 7)
    fetched = Fetched(data[:8] + struct.pack(">i", length) + data[12:], 7)
    assert (fetched.values, fetched.following) == ([], 8)
    assert fetched.skipped[0] == (7, "corrupt")


@pytest.mark.parametrize("codec", EVERY_CODEC)
def test_no_content_of_a_batch_gets_further_than_its_batch(
    monkeypatch: pytest.MonkeyPatch, codec: str | None
) -> None:
    # Damaged data is tried with buffers up to the limit, and 64 MiB take 30 ms.
    monkeypatch.setattr(compression, "UNPACKED_MOST", 1 << 20)
    chance = random.Random(str(codec))
    sound = batch([Row(b"key", b"value %d" % n, [("name", b"")]) for n in range(20)], 0, codec)
    for _ in range(500):
        changed = bytearray(sound)
        for _ in range(chance.choice([1, 2, 8])):
            changed[chance.randrange(61, len(sound))] = chance.randrange(256)
        if chance.random() < 0.1:  # an unknown codec, or a wrong one
            changed[22] = chance.randrange(8)
        fetched = Fetched(sealed(bytes(changed)) + batch(rows(b"last"), 20))
        assert fetched.values[-1] == (20, b"last")
        assert len(fetched.values) == 21 or fetched.skipped


@pytest.mark.parametrize(
    "body",
    [
        b"\xd2\xd2\xd2\xd2\xd2\x04" + b"2" * 20,
        b"\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\x04" + b"2" * 20,
        b"\x20\x00\x00\x00" + b"\xfe" + b"\xff" * 8 + b"\x01",  # a key of 2^63 - 1 bytes
        b"\x20\x00\x00\x00\x01" + b"\xfe" + b"\xff" * 8 + b"\x01",  # a value
        b"\x20\x00\x00\x00\x01\x01\x02" + b"\xfe" + b"\xff" * 8 + b"\x01",  # a header's name
        b"\x20\x00\x00\x00" + b"\x80" * 3,
        b"\x20\x00\x00\x00\x01\x01" + b"\xfe\xff\xff\xff\x0f",  # headers without end
        b"\0\0\0",
        b"\x04\0\xff",
        b"\x04\0\xff\xff",
        b"\xff",
        b"",
    ],
)
def test_record_length_beyond_the_batch_is_never_read(body: bytes) -> None:
    fetched = Fetched(with_body(body))
    assert (fetched.values, fetched.following) == ([], 1)
    assert fetched.skipped == [(0, "corrupt")]


@pytest.mark.parametrize("number", [-1, 0, 2, (1 << 31) - 1])
def test_wrong_record_count_makes_a_batch_invalid(number: int) -> None:
    fetched = Fetched(with_body(batch(rows(b"a"))[61:], number))
    assert (fetched.values, fetched.skipped) == ([], [(0, "corrupt")])


@pytest.mark.parametrize("deltas", [(1, 0), (0, 0), (0, 5), (-1, 1)])
def test_offsets_that_do_not_ascend_within_the_batch_make_it_bad(deltas: tuple[int, int]) -> None:
    body = b"".join(b"\x0e\0\0%c\x01\x02a\0" % (delta * 2 % 256) for delta in deltas)
    if deltas[0] < 0:
        body = b"\x0e\0\0\x01\x01\x02a\0" + b"\x0e\0\0\x02\x01\x02a\0"
    sound = with_body(body, 2)
    fetched = Fetched(sealed(sound[:23] + struct.pack(">i", 1) + sound[27:]))
    assert (fetched.values, fetched.skipped) == ([], [(0, "corrupt")])


@pytest.mark.parametrize("base", [-1, -(1 << 63), (1 << 62), (1 << 63) - 1])
def test_a_base_offset_beyond_all_logs_leads_nowhere(base: int) -> None:
    """The checksum does not cover it, and the next request could not be encoded."""
    data = base.to_bytes(8, "big", signed=True) + batch(rows(b"1"), 0)[8:]
    fetched = Fetched(data)
    assert (fetched.values, len(fetched.skipped)) == ([], 1)
