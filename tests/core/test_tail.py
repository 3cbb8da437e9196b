from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from random import Random

import pytest

from gateway.core.records import OffsetPosition, Record, make_record
from gateway.core.tail import Tail

START = OffsetPosition(10, 1000, False)
KEYS = (b"a", b"b", b"c", None)


def record(offset: int, key: bytes | None = b"a", timestamp: int | None = None) -> Record:
    return make_record(offset, offset * 10 if timestamp is None else timestamp, key, b"value")


def tail_of(*records: Record, start: OffsetPosition = START, keyed: bool = True) -> Tail:
    tail = Tail(start, keyed=keyed)
    if records:
        tail.append(records)
    return tail


def offsets(records: Sequence[Record]) -> list[int]:
    return [each.offset for each in records]


def size_of(records: Sequence[Record]) -> int:
    return sum(each.size for each in records)


class NaiveTail:
    """A reference implementation: a list, searched linearly."""

    def __init__(self, start: OffsetPosition) -> None:
        self.base = self.head = start
        self.records: list[Record] = []

    def since(self, offset: int, key: bytes | None, *, keyed: bool) -> list[Record]:
        return [
            each
            for each in self.records
            if each.offset >= offset and (not keyed or each.key == key)
        ]

    def assert_equals(self, tail: Tail, *, keyed: bool) -> None:
        assert (tail.base, tail.head, len(tail)) == (self.base, self.head, len(self.records))
        assert tail.size == sum(each.size for each in self.records)
        for key in KEYS:
            for offset in range(tail.base.offset, tail.head.offset + 2):
                assert list(tail.since(offset, key)) == self.since(offset, key, keyed=keyed)
        for position in (
            OffsetPosition(each.offset + 1, each.timestamp, True) for each in self.records
        ):
            assert tail.fits(position)
            assert not tail.fits(position._replace(timestamp=position.timestamp + 1))
            assert tail.fits(position._replace(timestamp=0, seen=False))


@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_a_tail_equals_a_naive_list_after_every_random_step(seed: int, *, keyed: bool) -> None:
    random = Random(seed)
    tail, naive = Tail(START, keyed=keyed), NaiveTail(START)

    def batch(offset: int, most: int) -> list[Record]:
        records = []
        for _ in range(random.randint(1, most)):
            offset += random.choice([0, 0, 0, 1, 5])
            records.append(record(offset, random.choice(KEYS)))
            offset += 1
        return records

    for _ in range(60):
        match random.choice(["append", "append", "evict", "warm"]):
            case "append":
                new = batch(tail.head.offset, 5)
                known = {each.key for each in naive.records}
                _, fresh = tail.append(new)
                keys = list(dict.fromkeys(each.key for each in new if each.key not in known))
                assert [each.key for each in fresh] == (keys if keyed else [])
                naive.records += new
                naive.head = OffsetPosition.after(new[-1])
            case "evict":
                wanted = random.randint(0, max(tail.size, 1) * 3 // 2)
                freed = size_of(tail.evict(wanted))
                gone = 0
                while naive.records and gone < wanted:
                    oldest = naive.records.pop(0)
                    gone += oldest.size
                    naive.base = OffsetPosition.after(oldest)
                assert freed == gone
            case "warm" if tail.base.offset > 3:
                start = OffsetPosition(random.randint(0, tail.base.offset - 1), 0, False)
                older = [each for each in batch(start.offset, 4) if each.offset < tail.base.offset]
                tail.warm(start, older)
                naive.records[:0] = older
                naive.base = start
        naive.assert_equals(tail, keyed=keyed)


def test_base_and_head_of_an_empty_tail_are_its_start() -> None:
    tail = tail_of()
    assert (tail.base, tail.head, len(tail), tail.size) == (START, START, 0, 0)
    assert not tail.since(10, b"a")
    assert not tail.since(99, b"a"), "no records from a position ahead of the tail"


def test_only_the_first_record_of_a_new_key_is_fresh() -> None:
    tail = tail_of(record(10, b"a"))
    _, fresh = tail.append([record(11, b"b"), record(12, b"a"), record(13, b"b"), record(14, None)])
    assert offsets(fresh) == [11, 14]


def test_a_key_is_fresh_again_after_its_records_were_evicted() -> None:
    tail = tail_of(record(10, b"a"), record(11, b"b"))
    tail.evict(1)
    assert offsets(tail.append([record(12, b"a"), record(13, b"b")])[1]) == [12]


def test_evicting_less_than_a_record_frees_a_whole_one() -> None:
    tail = tail_of(record(10), record(11))
    assert size_of(tail.evict(1)) == record(10).size
    assert (tail.base, len(tail)) == (OffsetPosition(11, 100, True), 1)


def test_evicting_more_than_the_size_leaves_an_empty_tail_at_its_head() -> None:
    tail = tail_of(record(10), record(15))
    assert size_of(tail.evict(1 << 30)) == 2 * record(10).size
    assert (tail.base, tail.head, tail.size) == (OffsetPosition(16, 150, True),) * 2 + (0,)


@pytest.mark.parametrize(
    ("position", "fits"),
    [
        (OffsetPosition(11, 100, True), True),
        (OffsetPosition(11, 101, True), False),
        (OffsetPosition(11, 101, False), True),
        (OffsetPosition(13, 777, True), True),  # the record at 12 is unknown
        (OffsetPosition(15, 140, True), True),
        (OffsetPosition(15, 141, True), False),
        (OffsetPosition(10, 1000, True), None),  # the record at 9 is unknown, a scan can tell
        (OffsetPosition(10, 1000, False), True),
    ],
)
def test_a_position_is_compared_with_the_previous_record(
    position: OffsetPosition, fits: bool | None
) -> None:
    tail = tail_of(record(10), record(11), record(14))
    assert tail.fits(position) is fits


@pytest.mark.parametrize(("timestamp", "fits"), [(100, True), (101, False)])
def test_a_base_after_an_eviction_verifies_a_position(timestamp: int, *, fits: bool) -> None:
    tail = tail_of(record(10), record(11))
    tail.evict(1)
    assert tail.fits(OffsetPosition(11, timestamp, True)) is fits


def test_a_hole_after_the_base_disproves_no_position() -> None:
    tail = tail_of(record(14))
    assert tail.fits(OffsetPosition(12, 777, True)) is True


@pytest.mark.parametrize(
    ("offset", "timestamp", "first"),
    [(10, 0, 10), (11, 0, 12), (10, 105, 12), (10, 120, 12), (10, 121, 13), (10, 131, 14)],
)
def test_first_at_or_after_equals_list_offsets_by_time(
    offset: int, timestamp: int, first: int
) -> None:
    tail = tail_of(record(10), record(12), record(13))
    assert tail.first_at_or_after(offset, timestamp) == first


def test_warm_prepends_records() -> None:
    tail = tail_of(record(12, b"a"))
    tail.warm(OffsetPosition(4, 0, False), [record(5, b"a"), record(9, b"b")])
    assert tail.base == OffsetPosition(4, 0, False)
    assert offsets(tail.since(4, b"a")) == [5, 12]
    assert offsets(tail.since(4, b"b")) == [9]
    assert tail.size == 3 * record(5).size


def test_an_empty_range_can_be_warmed() -> None:
    tail = tail_of(record(12), keyed=False)
    tail.warm(OffsetPosition(4, 0, False), [])
    assert (tail.base.offset, offsets(tail.since(4))) == (4, [12])


@pytest.mark.parametrize(
    "misuse",
    [
        lambda tail: tail.since(9, b"a"),
        lambda tail: tail.warm(OffsetPosition(11, 0, False), []),
        lambda tail: tail.warm(OffsetPosition(5, 0, False), [record(4)]),
        lambda tail: tail.warm(OffsetPosition(5, 0, False), [record(10)]),
    ],
    ids=["too old", "warm start", "warm before", "warm behind"],
)
def test_misuse_raises(misuse: object) -> None:
    assert callable(misuse)
    with pytest.raises(ValueError, match="tail"):
        misuse(tail_of(record(10)))


def test_records_received_twice_are_added_once() -> None:
    tail = tail_of(record(10), record(12))
    again = [record(10), record(12), record(13, b"b")]
    added, fresh = tail.append(again)
    assert (offsets(added), offsets(fresh)) == ([13], [13])
    assert offsets(tail.since(0 + tail.base.offset, b"a")) == [10, 12]
    assert tail.append(again) == ([], [])
    assert tail.append([]) == ([], [])


@pytest.mark.parametrize("headers", [0, 2])
@pytest.mark.parametrize("value_bytes", [60, 300, 1000])
@pytest.mark.parametrize("keys", [1, 100, 4000])
def test_the_size_of_a_tail_matches_its_memory(keys: int, value_bytes: int, headers: int) -> None:
    count = 4000
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tail = Tail(OffsetPosition(0, 0, False), keyed=True)
        for start in range(0, count, 50):
            # New objects for each record, as aiokafka creates them; none interned or shared.
            tail.append(
                [
                    make_record(
                        10_000 + number,
                        1_700_000_000_000 + number,
                        b"user-%08d" % (number % keys),
                        bytes(bytearray(value_bytes)),
                        tuple(
                            (f"event_{i}_{number}"[:9], bytes(bytearray(20)))
                            for i in range(headers)
                        ),
                    )
                    for number in range(start, start + 50)
                ]
            )
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert tail.size == pytest.approx(after - before, rel=0.2)
