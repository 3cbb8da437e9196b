from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.core.event_id import Mark, encode_mark
from gateway.core.log import Log, LogKind, Moment, Position, Since, Topic
from gateway.core.opening import Opening
from gateway.core.stream import Behind, Feed
from gateway.core.tail import Tail

if TYPE_CHECKING:
    from gateway.core.log import Place

NOW = Moment(1.0, 1_000_000)
HEAD = Position(90, 5, True)
PLACE = Position(40, 999_000, True)


def mark(
    *, kind: LogKind = LogKind.USER, tag: bytes = b"tagA", partition: int = 1, place: Place = PLACE
) -> Mark:
    return Mark(kind, tag, partition, place)


def feed_of(*, read: bool = True) -> Feed:
    feed = Feed(Log("user-events", 1), Topic("user-events", LogKind.USER, b"tagA", 3))
    if read:
        feed.tail = Tail(HEAD, keyed=True)
    return feed


def place_in(opening: Opening, feed: Feed) -> Behind:
    return opening.place(feed, (feed,), NOW)


@pytest.mark.parametrize(
    ("opening", "place", "checked"),
    [
        (Opening(b"a"), HEAD, True),
        (Opening(b"a", malformed=True), HEAD, True),
        (Opening(b"a", since=999_999), Since(999_999), False),
        (Opening(b"a", since=1_000_000), HEAD, True),
        (Opening(b"a", since=2_000_000), HEAD, True),
        (Opening(b"a", cursor=[mark()]), PLACE, False),
        (Opening(b"a", cursor=[mark()], since=999_999), PLACE, False),
        (Opening(b"a", cursor=[mark(place=Since(7))]), Since(7), False),
        (Opening(b"a", cursor=[mark(partition=2), mark()]), PLACE, False),
        (Opening(b"a", cursor=[mark(kind=LogKind.BROADCAST)]), HEAD, True),
        (Opening(b"a", cursor=[mark(kind=LogKind.BROADCAST)], since=999_999), HEAD, True),
    ],
)
def test_where_a_stream_begins(opening: Opening, place: Place, *, checked: bool) -> None:
    behind = place_in(opening, feed_of())
    assert (behind.place, behind.checked, behind.untold) == (place, checked, None)


@pytest.mark.parametrize("wrong", [mark(tag=b"tagB"), mark(partition=2)])
def test_a_mark_of_another_incarnation_or_partition_is_kept_until_its_reset_is_told(
    wrong: Mark,
) -> None:
    behind = place_in(Opening(b"a", cursor=[wrong]), feed_of())
    assert behind.place == Since(PLACE.timestamp)
    assert behind.untold == encode_mark(*wrong)
    assert not behind.checked


@pytest.mark.parametrize("since", [None, 2_000_000])
def test_while_nobody_reads_the_log_a_stream_begins_at_its_moment(since: int | None) -> None:
    behind = place_in(Opening(b"a", since=since), feed_of(read=False))
    assert (behind.place, behind.checked) == (Since(NOW.wall), True)
