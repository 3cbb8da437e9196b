from __future__ import annotations

import pytest

from gateway.core.feed import PartitionFeed
from gateway.core.key_check import CHECKED_KEYS, KeyCheck
from gateway.core.records import LogKind, Record, TopicPartition, UnreadableReason, make_record
from gateway.core.source import KeyTemplate, Source, Topic
from tests.core.workers import SilentObserver
from tests.core.world import first_byte

LOG = TopicPartition("user-events", 1)


@pytest.fixture
def observer() -> SilentObserver:
    return SilentObserver()


@pytest.fixture
def key_check(observer: SilentObserver) -> KeyCheck:
    return KeyCheck(first_byte, observer)


@pytest.fixture
def feed() -> PartitionFeed:
    return PartitionFeed(LOG, Topic("user-events", LogKind.USER, b"tagA", 3))


def record(offset: int, key: bytes | None) -> Record:
    return make_record(offset, 1000, key, b"{}")


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (None, UnreadableReason.NO_KEY),
        (b"", UnreadableReason.NO_KEY),
        (b"\xff", UnreadableReason.KEY_NOT_UTF8),
    ],
)
def test_an_invalid_key_is_reported(
    key_check: KeyCheck,
    feed: PartitionFeed,
    observer: SilentObserver,
    key: bytes | None,
    reason: UnreadableReason,
) -> None:
    key_check.check(feed, [record(7, key)], [record(7, key)])
    assert observer.unreadables == [(LOG, 7, reason)]
    assert observer.misplacements == []


@pytest.mark.parametrize("key", [b"alice", b"user:", "nutzer:ä".encode()])
def test_a_key_of_another_form_than_the_source_states_is_reported(
    key_check: KeyCheck, observer: SilentObserver, key: bytes
) -> None:
    source = Source("orders", LogKind.USER, KeyTemplate(b"user:"))
    feed = PartitionFeed(
        LOG, Topic("orders", LogKind.USER, b"tagA", 1, key=source.key, source=source)
    )
    records = [record(6, b"user:a"), record(7, key), record(8, "user:ä".encode())]
    key_check.check(feed, records, [])
    assert observer.unreadables == [(LOG, 7, UnreadableReason.KEY_MISMATCH)]


@pytest.mark.parametrize(
    ("key", "misplaced"),
    [(b"a", [(LOG, 7, 97 % 3)] if 97 % 3 != 1 else []), (b"b", [(LOG, 7, 2)]),
     ("ä".encode(), [(LOG, 7, 0)])],
)  # fmt: skip
def test_a_key_in_the_wrong_partition_is_reported(
    key_check: KeyCheck,
    feed: PartitionFeed,
    observer: SilentObserver,
    key: bytes,
    misplaced: list[tuple[TopicPartition, int, int]],
) -> None:
    key_check.check(feed, [record(7, key)], [record(7, key)])
    assert observer.misplacements == misplaced
    assert observer.unreadables == []


def test_the_number_of_keys_checked_per_batch_is_limited(
    key_check: KeyCheck, feed: PartitionFeed, observer: SilentObserver
) -> None:
    records = [record(i, b"b%d" % i) for i in range(2 * CHECKED_KEYS)]
    key_check.check(feed, records, records)
    assert len(observer.misplacements) == CHECKED_KEYS
