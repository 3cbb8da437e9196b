from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.core.event_id import CursorEntry, encode_mark
from gateway.core.records import (
    LogKind,
    Moment,
    OffsetPosition,
    TimePosition,
    Topic,
    TopicPartition,
)
from gateway.core.request import StreamRequest
from gateway.core.stream import CatchUpState, PartitionFeed
from gateway.core.tail import Tail

if TYPE_CHECKING:
    from gateway.core.records import Position

NOW = Moment(1.0, 1_000_000)
HEAD = OffsetPosition(90, 5, True)
PLACE = OffsetPosition(40, 999_000, True)


def mark(
    *,
    kind: LogKind = LogKind.USER,
    tag: bytes = b"tagA",
    partition: int = 1,
    place: Position = PLACE,
) -> CursorEntry:
    return CursorEntry(kind, tag, partition, place)


def feed_of(*, read: bool = True) -> PartitionFeed:
    feed = PartitionFeed(
        TopicPartition("user-events", 1), Topic("user-events", LogKind.USER, b"tagA", 3)
    )
    if read:
        feed.tail = Tail(HEAD, keyed=True)
    return feed


def place_in(opening: StreamRequest, feed: PartitionFeed) -> CatchUpState:
    return opening.place(feed, (feed,), NOW)


@pytest.mark.parametrize(
    ("opening", "place", "checked"),
    [
        (StreamRequest(b"a"), HEAD, True),
        (StreamRequest(b"a", malformed=True), HEAD, True),
        (StreamRequest(b"a", since=999_999), TimePosition(999_999), False),
        (StreamRequest(b"a", since=1_000_000), HEAD, True),
        (StreamRequest(b"a", since=2_000_000), HEAD, True),
        (StreamRequest(b"a", cursor=[mark()]), PLACE, False),
        (StreamRequest(b"a", cursor=[mark()], since=999_999), PLACE, False),
        (StreamRequest(b"a", cursor=[mark(place=TimePosition(7))]), TimePosition(7), False),
        (StreamRequest(b"a", cursor=[mark(partition=2), mark()]), PLACE, False),
        (StreamRequest(b"a", cursor=[mark(kind=LogKind.BROADCAST)]), HEAD, True),
        (StreamRequest(b"a", cursor=[mark(kind=LogKind.BROADCAST)], since=999_999), HEAD, True),
    ],
)
def test_where_a_stream_begins(opening: StreamRequest, place: Position, *, checked: bool) -> None:
    behind = place_in(opening, feed_of())
    assert (behind.place, behind.checked, behind.untold) == (place, checked, None)


@pytest.mark.parametrize("wrong", [mark(tag=b"tagB"), mark(partition=2)])
def test_a_mark_of_another_incarnation_or_partition_is_kept_until_its_reset_is_told(
    wrong: CursorEntry,
) -> None:
    behind = place_in(StreamRequest(b"a", cursor=[wrong]), feed_of())
    assert behind.place == TimePosition(PLACE.timestamp)
    assert behind.untold == encode_mark(*wrong)
    assert not behind.checked


@pytest.mark.parametrize("since", [None, 2_000_000])
def test_while_nobody_reads_the_log_a_stream_begins_at_its_moment(since: int | None) -> None:
    behind = place_in(StreamRequest(b"a", since=since), feed_of(read=False))
    assert (behind.place, behind.checked) == (TimePosition(NOW.wall), True)
