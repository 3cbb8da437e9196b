from __future__ import annotations

import random
import struct
from enum import Enum
from typing import TYPE_CHECKING

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from gateway.kafka.screen import screened
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

if TYPE_CHECKING:
    from collections.abc import Callable

END = 1000
"""The end of the log that all batches here are from."""

TRANSACTIONAL, MARKER = 0x10, 0x30
"""Attributes of a batch."""


class Marker(Enum):
    """Markers whose checksum is right."""

    EMPTIED = batch([], 1, producer=9, attributes=MARKER)
    WITHOUT_KEY = batch([Row(None, b"\0" * 6)], 1, producer=9, attributes=MARKER)
    CUT = with_garbage(batch([Row(b"\0\0\0\0", b"\0" * 6)], 1, producer=9, attributes=MARKER))


Read = list[tuple[int, bytes | None]]


EVERY = [None, *CODECS]


def rows(*values: bytes) -> list[Row]:
    return [Row(b"key", value) for value in values]


def looked_through(data: bytes) -> tuple[bytes, list[tuple[int, str]]]:
    """Return the screened data, and what was left out of it."""
    left_out: list[tuple[int, str]] = []
    return screened(data, END, lambda *fault: left_out.append(fault)), left_out


def read(data: bytes, offset: int = 0, aborted: tuple[tuple[int, int], ...] = ()) -> Read:
    """Return what aiokafka reads from the offset on: offsets and values, then where it goes on."""
    records = PartitionRecords(
        TopicPartition("topic", 0),
        MemoryRecords(data),
        list(aborted),
        offset,
        None,
        None,
        False,
        READ_COMMITTED,
    )
    found: Read = [(record.offset, record.value) for record in records]
    return [*found, (records.next_fetch_offset, None)]


@pytest.mark.parametrize("codec", EVERY)
def test_sound_batches_stay_as_they_are(codec: str | None) -> None:
    named = Row(b"key", b"a", [("name", b"value")])
    data = batch([named, *rows(b"b")], 0, codec) + batch(rows(b"c"), 2, codec)
    assert looked_through(data) == (data, [])


@pytest.mark.parametrize("codec", EVERY)
@pytest.mark.parametrize("spoil", [with_bit_flipped, with_garbage])
def test_a_batch_that_cannot_be_unpacked_leaves_a_hole(
    codec: str | None, spoil: Callable[[bytes], bytes]
) -> None:
    poison = spoil(batch(rows(*[b"x" * 50] * 3), 2, codec))
    data = batch(rows(b"a", b"b")) + poison + batch(rows(b"c"), 5)

    clean, left_out = looked_through(data)

    assert read(clean) == [(0, b"a"), (1, b"b"), (5, b"c"), (6, None)]
    assert left_out == [(2, "corrupt")]
    assert read(looked_through(poison)[0]) == [(5, None)], "also where nothing follows it yet"


@pytest.mark.parametrize("codec", EVERY)
def test_only_the_record_with_the_bad_header_is_left_out(codec: str | None) -> None:
    bad = Row(b"key", b"b", [("a-name", b"")])
    poison = with_bad_header(batch([*rows(b"a"), bad, *rows(b"c")], 7), "a-name")

    clean, left_out = looked_through(poison if codec is None else compressed(poison, codec))

    assert left_out == [(8, "header_not_utf8")]
    assert read(clean) == [(7, b"a"), (9, b"c"), (10, None)]


@pytest.mark.parametrize("delta", [-1, -(1 << 31), (1 << 31) - 1, 500])
def test_a_header_that_lies_does_not_lead_beyond_what_follows(delta: int) -> None:
    sound = batch(rows(b"a", b"b"), 4)
    poison = sound[:23] + struct.pack(">i", delta) + sound[27:]

    between, _ = looked_through(poison + batch(rows(b"c"), 6))
    assert read(between, 4)[-2:] == [(6, b"c"), (7, None)]

    last, _ = looked_through(poison)
    assert 4 < read(last, 4)[-1][0] <= END


def test_a_broken_marker_still_ends_the_transaction_that_was_aborted() -> None:
    aborted = batch(rows(b"a"), 0, producer=9, attributes=TRANSACTIONAL)
    marker = batch([Row(b"\0\0\0\0", b"\0" * 6)], 1, producer=9, attributes=MARKER)
    following = batch(rows(b"b"), 2, producer=9, attributes=TRANSACTIONAL)

    clean, left_out = looked_through(aborted + with_bit_flipped(marker) + following)

    assert left_out == [(1, "corrupt")]
    assert read(clean, aborted=((9, 0),)) == [(2, b"b"), (3, None)]


@pytest.mark.parametrize(
    ("marker", "told"),
    [
        (Marker.EMPTIED, []),  # as the cleaner leaves it
        (Marker.WITHOUT_KEY, [(1, "corrupt")]),
        (Marker.CUT, [(1, "corrupt")]),
    ],
)
def test_a_marker_that_aiokafka_cannot_read_still_ends_the_transaction(
    marker: Marker, told: list[tuple[int, str]]
) -> None:
    aborted = batch(rows(b"a"), 0, producer=9, attributes=TRANSACTIONAL)
    following = batch(rows(b"b"), 2, producer=9, attributes=TRANSACTIONAL)

    clean, left_out = looked_through(aborted + marker.value + following)

    assert left_out == told
    assert read(clean, aborted=((9, 0),)) == [(2, b"b"), (3, None)]


@pytest.mark.parametrize("version", [0, 1])
def test_batches_of_old_versions_are_left_as_they_are(version: int) -> None:
    builder = LegacyRecordBatchBuilder(version, 0, 10_000)
    for offset in range(3):
        builder.append(offset, 0, b"key", b"%d" % offset)
    data = bytes(builder.build())
    assert looked_through(data) == (data, [])


def test_what_a_broker_cut_off_is_left_to_the_next_fetch() -> None:
    whole = batch(rows(b"a"))
    for size in (5, 30, 61):
        data = whole + batch(rows(b"b"), 1)[:size]
        assert looked_through(data) == (data, [])
        poison = with_bit_flipped(whole) + data[len(whole) :]
        assert read(looked_through(poison)[0])[-1] == (1, None)


@pytest.mark.parametrize("codec", EVERY)
def test_nothing_that_a_batch_may_hold_gets_through_to_aiokafka(codec: str | None) -> None:
    """Whatever a batch holds, aiokafka reads what is left of it, and goes on behind it."""
    chance = random.Random(str(codec))
    sound = batch([Row(b"key", b"value %d" % n, [("name", b"")]) for n in range(20)], 0, codec)
    for _ in range(500):
        changed = bytearray(sound)
        for _ in range(chance.choice([1, 2, 8])):
            changed[chance.randrange(61, len(sound))] = chance.randrange(256)
        if chance.random() < 0.1:  # an unknown codec, or a wrong one
            changed[22] = chance.randrange(8)
        data = sealed(bytes(changed)) + batch(rows(b"last"), 20)

        clean, left_out = looked_through(data)

        assert read(clean)[-2:] == [(20, b"last"), (21, None)]
        assert (clean == data) is not bool(left_out)


@pytest.mark.parametrize("length", [b"\xfe" + b"\xff" * 8 + b"\x01", b"\x80" * 3])
def test_a_length_that_no_memory_has_is_a_fault_like_others(length: bytes) -> None:
    sound = batch(rows(b"a"))
    body = b"\x20\x00\x00\x00" + length
    data = sound[:8] + struct.pack(">i", 49 + len(body)) + sound[12:61] + body

    clean, left_out = looked_through(sealed(data))

    assert left_out == [(0, "corrupt")]
    assert read(clean) == [(1, None)]


@pytest.mark.parametrize(
    "body",
    [
        b"\xd2\xd2\xd2\xd2\xd2\x04" + b"2" * 20,  # what a worker crashed for
        b"\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\x04" + b"2" * 20,
        b"\xd3\xd2\xd2\xd2\xd2\xd2\x04" + b"2" * 20,
        b"\0\0\0",
        b"\x04\0\xff",
        b"\x04\0\xff\xff",
        b"\xff",
    ],
)
def test_nothing_is_read_beyond_a_batch_whatever_length_a_record_claims(body: bytes) -> None:
    sound = batch(rows(b"a"))
    data = sound[:8] + struct.pack(">i", 49 + len(body)) + sound[12:61] + body

    clean, left_out = looked_through(sealed(data))

    assert left_out == [(0, "corrupt")]
    assert read(clean) == [(1, None)]
