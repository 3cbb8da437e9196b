"""Batches, sound and otherwise: nothing crashes, stops a partition, or leads it astray."""

from __future__ import annotations

import random
import struct
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder

from gateway.core.records import Record, make_record
from gateway.kafka.fetch import batches, compression
from gateway.kafka.fetch.batches import (
    LARGE,
    LARGE_BYTES,
    LARGE_RECORDS,
    Batch,
    large_batch,
    unpack,
)
from tests.brokers.batches import (
    CODECS,
    Row,
    batch,
    compressed,
    sealed,
    with_bad_header,
    with_bit_flipped,
    with_garbage,
)

END = 1000
"""High watermark of the log that all batches here are from."""

TRANSACTIONAL, MARKER = 0x10, 0x30
"""Attributes of a batch."""

EVERY_CODEC = [None, *CODECS]
TIMESTAMP = 1_700_000_000_000


class Fetched:
    """The unpacked offsets and values, the next offset, and the skipped records."""

    def __init__(
        self, data: bytes, position: int = 0, aborted: Sequence[tuple[int, int]] = ()
    ) -> None:
        self.skipped: list[tuple[int, str]] = []
        self.records: list[Record] = []
        self.following = position
        self.large = 0
        for part in unpack(data, position, END, aborted, lambda *what: self.skipped.append(what)):
            if part is LARGE:
                self.large += 1
                continue
            assert part.following > self.following, "each batch leads on"
            self.records += part.records
            self.following = part.following

    @property
    def values(self) -> list[tuple[int, bytes | None]]:
        return [(record.offset, record.value) for record in self.records]


def rows(*values: bytes) -> list[Row]:
    return [Row(b"key", value) for value in values]


def with_body(body: bytes, number: int = 1) -> bytes:
    """Return a batch with a valid checksum whose records are these bytes."""
    sound = batch(rows(b"a"))
    head = sound[:8] + struct.pack(">i", 49 + len(body)) + sound[12:57]
    return sealed(head + struct.pack(">i", number) + body)


@pytest.mark.parametrize("codec", EVERY_CODEC)
def test_records_are_unpacked_with_all_their_parts(codec: str | None) -> None:
    whole = [
        Row(b"key", b"a", [("näme", b"content"), ("empty", b"")]),
        Row(None, b"b"),
        Row(b"key", None),
        Row(b"key", b"c" * 300),
    ]
    fetched = Fetched(batch(whole, 5, codec))
    assert fetched.records == [
        make_record(5, TIMESTAMP, b"key", b"a", (("näme", b"content"), ("empty", b""))),
        make_record(6, TIMESTAMP, None, b"b"),
        make_record(7, TIMESTAMP, b"key", None),
        make_record(8, TIMESTAMP, b"key", b"c" * 300),
    ]
    assert (fetched.following, fetched.skipped) == (9, [])


@pytest.mark.parametrize("codec", EVERY_CODEC)
def test_careful_parser_agrees_with_the_compiled_parser(codec: str | None) -> None:
    tail = b"\xff\xff\xff\xff\x01"  # as in a length that would overflow
    whole = [Row(b"key", b"v%d" % n, [("name", b"content")] * (n % 3)) for n in range(100)]
    assert Fetched(batch([*whole, Row(b"key", tail)], 0, codec)).records[:-1] == (
        Fetched(batch(whole, 0, codec)).records
    )


def test_records_before_the_position_are_left_out() -> None:
    fetched = Fetched(batch(rows(b"a", b"b", b"c"), 4), 5)
    assert fetched.values == [(5, b"b"), (6, b"c")]


def test_compaction_leaves_batches_that_end_behind_their_last_record() -> None:
    sound = batch(rows(b"a"), 4)
    emptied = batch([], 9)
    fetched = Fetched(
        sealed(sound[:23] + struct.pack(">i", 4) + sound[27:])
        + sealed(emptied[:23] + struct.pack(">i", 2) + emptied[27:])
    )
    assert (fetched.values, fetched.following, fetched.skipped) == ([(4, b"a")], 12, [])


def test_the_brokers_timestamp_replaces_the_producers() -> None:
    appended = batch(rows(b"a"), attributes=8)
    appended = sealed(appended[:35] + struct.pack(">q", 42) + appended[43:])
    (record,) = Fetched(appended).records
    assert record.timestamp == 42


def test_aborted_transactions_and_markers_are_left_out() -> None:
    def of(producer: int, value: bytes, base: int) -> bytes:
        return batch(rows(value), base, producer=producer, attributes=TRANSACTIONAL)

    def marker(producer: int, kind: int, base: int) -> bytes:
        key = struct.pack(">hh", 0, kind)
        return batch([Row(key, b"\0" * 6)], base, producer=producer, attributes=MARKER)

    data = (
        of(8, b"kept", 0)
        + of(9, b"aborted", 1)
        + batch(rows(b"plain"), 2, producer=9)
        + marker(9, 0, 3)
        + of(9, b"next", 4)
        + marker(8, 1, 5)
        + marker(9, 1, 6)
    )
    fetched = Fetched(data, aborted=[(9, 1)])
    assert fetched.values == [(0, b"kept"), (2, b"plain"), (4, b"next")]
    assert fetched.following == 7


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
@pytest.mark.parametrize("codec", [0, 1, 2, 3])
def test_records_of_old_formats_are_delivered(magic: int, codec: int) -> None:
    if codec == 3 and magic == 0:
        pytest.skip("aiokafka does not write lz4 in format 0")
    builder = LegacyRecordBatchBuilder(magic, codec, 100_000)
    for offset in range(3):
        builder.append(offset, TIMESTAMP, b"key", b"%d" % offset)
    data = bytes(builder.build())
    if codec:  # the broker gives a wrapper the offset of its last message
        data = struct.pack(">q", 12 if magic else 2) + data[8:]
    fetched = Fetched(data + batch(rows(b"new"), 13))
    first = 10 if magic and codec else 0
    assert fetched.values == [(first + n, b"%d" % n) for n in range(3)] + [(13, b"new")]
    assert {record.timestamp for record in fetched.records[:3]} == {TIMESTAMP if magic else -1}
    assert fetched.skipped == []


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


def test_what_a_broker_has_cut_off_is_left_to_the_next_fetch() -> None:
    whole = batch(rows(b"a"))
    for size in (5, 30, 61):
        fetched = Fetched(whole + batch(rows(b"b"), 1)[:size])
        assert (fetched.following, fetched.skipped) == (1, [])


def test_sound_batches_beyond_the_high_watermark_are_delivered() -> None:
    """The watermark advances between a broker's look at it and its read."""
    fetched = Fetched(batch(rows(b"a", b"b"), END - 1) + batch(rows(b"c"), END + 1), END - 1)
    assert [offset for offset, _ in fetched.values] == [END - 1, END, END + 1]
    assert fetched.skipped == []


@pytest.mark.parametrize("length", [-1, 0, 4, 48])
def test_a_batch_without_a_usable_length_does_not_stop_the_partition(length: int) -> None:
    data = batch(rows(b"a"), 7)
    fetched = Fetched(data[:8] + struct.pack(">i", length) + data[12:], 7)
    assert (fetched.values, fetched.following) == ([], 8)
    assert fetched.skipped[0] == (7, "corrupt")


@pytest.mark.parametrize("codec", EVERY_CODEC)
def test_no_content_of_a_batch_gets_further_than_its_batch(codec: str | None) -> None:
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


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_decompressed_data_has_a_limit(monkeypatch: pytest.MonkeyPatch, codec: str) -> None:
    data = batch(rows(b"x" * 100_000), 0, codec)
    monkeypatch.setattr(compression, "_UNPACKED_MOST", 90_000)
    assert Fetched(data).skipped == [(0, "corrupt")]
    monkeypatch.setattr(compression, "_UNPACKED_MOST", 110_000)
    assert Fetched(data).values == [(0, b"x" * 100_000)]


def test_number_of_records_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = batch(rows(b"1", b"2", b"3"), 0)
    monkeypatch.setattr(batches, "RECORDS_MOST", 2)
    assert Fetched(data).skipped == [(0, "corrupt")]


@pytest.mark.parametrize("base", [-1, -(1 << 63), (1 << 62), (1 << 63) - 1])
def test_a_base_offset_beyond_all_logs_leads_nowhere(base: int) -> None:
    """The checksum does not cover it, and the next request could not be encoded."""
    data = base.to_bytes(8, "big", signed=True) + batch(rows(b"1"), 0)[8:]
    fetched = Fetched(data)
    assert (fetched.values, len(fetched.skipped)) == ([], 1)


@pytest.mark.parametrize(
    ("number", "size", "codec", "large"),
    [
        (LARGE_RECORDS, 1, None, 0),
        (LARGE_RECORDS + 1, 1, None, 1),
        (1, LARGE_BYTES * 2, None, 0),
        (1, LARGE_BYTES * 2, "gzip", 1),
        (1, 10, "gzip", 0),
    ],
)
def test_a_large_batch_is_announced(number: int, size: int, codec: str | None, large: int) -> None:
    value = random.Random(1).randbytes(size)
    fetched = Fetched(batch(rows(*[value] * number), 0, codec))
    assert fetched.large == large
    assert len(fetched.records) == number


def test_a_large_batch_that_cannot_be_read_is_reported_after_it() -> None:
    data = batch(rows(*[b"a"] * (LARGE_RECORDS + 1)))
    fetched = Fetched(with_bit_flipped(data) + batch(rows(b"b"), LARGE_RECORDS + 1))
    assert fetched.large == 1
    assert fetched.skipped == [(0, "corrupt")]
    assert fetched.values == [(LARGE_RECORDS + 1, b"b")]


async def test_a_large_batch_is_decoded_in_a_thread() -> None:
    threads: list[int] = []
    data = batch(rows(*[b"a"] * (LARGE_RECORDS + 1))) + batch(rows(b"b"), LARGE_RECORDS + 1)

    def steps() -> Iterator[Batch]:
        for part in unpack(data, 0, END, (), lambda *_: None):
            if part is not LARGE:
                threads.append(threading.get_ident())
            yield part

    parts = steps()
    assert next(parts) is LARGE
    large = await large_batch(parts)
    assert large is not None
    small = next(parts)
    assert len(large.records) == LARGE_RECORDS + 1
    assert [record.value for record in small.records] == [b"b"]
    assert list(parts) == []
    assert threads[0] != threading.get_ident() == threads[1]
