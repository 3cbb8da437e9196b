from __future__ import annotations

import pytest

from gateway.core.records import (
    HEADER_OVERHEAD,
    RECORD_OVERHEAD,
    TIMESTAMP_LIMIT,
    OffsetPosition,
    Record,
    TopicPartition,
    make_record,
)


@pytest.mark.parametrize(
    ("key", "value", "headers", "size"),
    [
        (None, None, (), 0),
        (b"", b"", (), 0),
        (b"alice", None, (), 5),
        (b"alice", b"12345678", (), 13),
        (
            None,
            b"1",
            (("name", b"value"), ("n", b"")),
            1 + HEADER_OVERHEAD + 9 + HEADER_OVERHEAD + 1,
        ),
    ],
)
def test_the_size_of_a_record_includes_content_and_overhead(
    key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes], ...], size: int
) -> None:
    record = make_record(7, 1_700_000_000_000, key, value, headers)
    assert record == Record(7, 1_700_000_000_000, key, value, headers, RECORD_OVERHEAD + size)


@pytest.mark.parametrize(
    ("timestamp", "position"),
    [
        (1_700_000_000_000, OffsetPosition(8, 1_700_000_000_000, True)),
        (0, OffsetPosition(8, 0, True)),
        (TIMESTAMP_LIMIT - 1, OffsetPosition(8, TIMESTAMP_LIMIT - 1, True)),
        (TIMESTAMP_LIMIT, OffsetPosition(8, 0, False)),
        (-1, OffsetPosition(8, 0, False)),
    ],
)
def test_the_position_after_a_record_has_its_timestamp_if_valid(
    timestamp: int, position: OffsetPosition
) -> None:
    assert OffsetPosition.after(Record(7, timestamp, b"alice", b"{}")) == position


def test_a_topic_partition_equals_a_plain_tuple() -> None:
    assert TopicPartition("user-events", 3) == ("user-events", 3)
    assert hash(TopicPartition("user-events", 3)) == hash(("user-events", 3))
