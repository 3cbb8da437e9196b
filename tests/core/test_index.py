from __future__ import annotations

import tracemalloc
from random import Random
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import index as module
from gateway.core.index import ENTRY_BYTES, Index
from gateway.core.records import Record, make_record

KEYS = (b"a", b"b", b"c", b"", None)


def records(*entries: tuple[int, bytes | None]) -> list[Record]:
    return [make_record(offset, 0, key, b"value") for offset, key in entries]


@pytest.mark.parametrize("few", [0, 16], ids=["record by record", "searched"])
@given(
    keys=st.lists(st.sampled_from(KEYS), max_size=40),
    gaps=st.randoms(use_true_random=False),
    wanted=st.sets(st.sampled_from(KEYS)),
    begin=st.integers(0, 90),
    end=st.integers(0, 90),
    forgotten=st.integers(0, 50),
)
def test_find_returns_exactly_the_offsets_of_the_keys(
    few: int,
    keys: list[bytes | None],
    gaps: Random,
    wanted: set[bytes | None],
    begin: int,
    end: int,
    forgotten: int,
) -> None:
    offset, entries = 0, []
    for key in keys:
        offset += gaps.randint(1, 3)
        entries.append((offset, key))
    index = Index()
    cut = gaps.randint(0, len(entries))
    index.append(records(*entries[:cut]))
    index.append(records(*entries[cut:]))
    index.discard(forgotten)
    left = entries[forgotten:]
    assert len(index) == len(left)
    assert index.size == ENTRY_BYTES * len(left)
    if left:
        assert index.start == left[0][0]
    # The index treats a missing key as an empty one, so a hit may be of either.
    found = {key or b"" for key in wanted}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "FEW", few)
        assert index.find(wanted, begin, end) == [
            offset for offset, key in left if (key or b"") in found and begin <= offset < end
        ]


def test_bytes_across_two_hashes_do_not_match() -> None:
    wanted = crc32(b"wanted").to_bytes(4, "little")
    index = Index()
    index.append(records((5, b"x"), (6, b"y"), (7, b"wanted")))
    index._hashes[:8] = b"\0\0" + wanted + b"\0\0"  # noqa: SLF001
    assert index.find([b"wanted"], 0, 10) == [7]


def test_a_cleared_index_is_empty_and_can_be_appended_to() -> None:
    index = Index()
    index.append(records((5, b"a"), (9, b"b")))
    index.clear()
    assert (len(index), index.size, index.find([b"a"], 0, 100)) == (0, 0, [])
    index.append(records((3, b"a")))
    assert (index.start, index.find([b"a"], 0, 100)) == (3, [3])


def test_appended_offsets_must_increase() -> None:
    index = Index()
    index.append(records((5, b"a")))
    with pytest.raises(AssertionError):
        index.append(records((5, b"a")))


def test_size_matches_the_memory_used() -> None:
    batch = records(*((offset, b"user-%d" % offset) for offset in range(1000)))
    index = Index()
    tracemalloc.start()
    try:
        for number in range(100):
            for record in batch:
                record.offset += 1000 * (number > 0)
            index.append(batch)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert index.size <= taken < 1.15 * index.size
