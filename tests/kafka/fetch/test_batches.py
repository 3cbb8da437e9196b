"""Record batches of every format are unpacked, up to the limits of memory and time."""

from __future__ import annotations

import random
import struct
import threading
from collections.abc import Iterator

import pytest
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder

from gateway.core.records import make_record
from gateway.kafka.fetch import batches, compression
from gateway.kafka.fetch.batches import (
    LARGE,
    LARGE_BYTES,
    LARGE_RECORDS,
    Batch,
    large_batch,
    unpack,
)
from gateway.kafka.fetch.compression import QUICK_MOST
from tests.brokers.batches import (
    CODECS,
    Row,
    batch,
    sealed,
    with_bit_flipped,
)
from tests.kafka.fetch.fetched import (
    END,
    EVERY_CODEC,
    MARKER,
    TIMESTAMP,
    TRANSACTIONAL,
    Fetched,
    rows,
)


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
    assert fetched.large == bool(codec), "a wrapper does not say how many messages it has"


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


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_decompressed_data_has_a_limit(monkeypatch: pytest.MonkeyPatch, codec: str) -> None:
    data = batch(rows(b"x" * 100_000), 0, codec)
    monkeypatch.setattr(compression, "UNPACKED_MOST", 90_000)
    assert Fetched(data).skipped == [(0, "corrupt")]
    monkeypatch.setattr(compression, "UNPACKED_MOST", 110_000)
    assert Fetched(data).values == [(0, b"x" * 100_000)]


def test_number_of_records_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = batch(rows(b"1", b"2", b"3"), 0)
    monkeypatch.setattr(batches, "RECORDS_MOST", 2)
    assert Fetched(data).skipped == [(0, "corrupt")]


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


@pytest.mark.parametrize("codec", sorted(CODECS))
@pytest.mark.parametrize(("size", "large"), [(QUICK_MOST // 2, 0), (2 * QUICK_MOST, 1)])
def test_a_batch_that_decompresses_to_much_is_announced(codec: str, size: int, large: int) -> None:
    data = batch(rows(bytes(size)), 0, codec)
    fetched = Fetched(data + batch(rows(b"b"), 1))
    assert fetched.large == (large or len(data) > LARGE_BYTES)
    assert fetched.values == [(0, bytes(size)), (1, b"b")]
    assert Fetched(data).values == [(0, bytes(size))]


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
