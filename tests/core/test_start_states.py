from __future__ import annotations

import pytest

from gateway.core.catch_up_state import CatchUpState
from gateway.core.event_id import CursorEntry, encode_entry
from gateway.core.feed import PartitionFeed
from gateway.core.records import (
    LogKind,
    Moment,
    OffsetPosition,
    Position,
    TimePosition,
    TopicPartition,
)
from gateway.core.request import StreamRequest
from gateway.core.source import Topic
from gateway.core.start_states import start_states
from gateway.core.tail import Tail

NOW = Moment(1.0, 1_000_000)
HEAD = OffsetPosition(90, 5, True)
POSITION = OffsetPosition(40, 999_000, True)


def entry(
    *,
    kind: LogKind = LogKind.USER,
    tag: bytes = b"tagA",
    partition: int = 1,
    position: Position = POSITION,
) -> CursorEntry:
    return CursorEntry(kind, tag, partition, position)


def feed_of(*, read: bool = True) -> PartitionFeed:
    feed = PartitionFeed(
        TopicPartition("user-events", 1), Topic("user-events", LogKind.USER, b"tagA", 3)
    )
    if read:
        feed.tail = Tail(HEAD, keyed=True)
    return feed


def start_of(request: StreamRequest, feed: PartitionFeed) -> CatchUpState:
    (state,) = start_states(request, (feed,), NOW)
    return state


@pytest.mark.parametrize(
    ("stream_request", "position", "checked"),
    [
        (StreamRequest(b"a"), HEAD, True),
        (StreamRequest(b"a", malformed=True), HEAD, True),
        (StreamRequest(b"a", since=999_999), TimePosition(999_999), False),
        (StreamRequest(b"a", since=1_000_000), HEAD, True),
        (StreamRequest(b"a", since=2_000_000), HEAD, True),
        (StreamRequest(b"a", cursor=[entry()]), POSITION, False),
        (StreamRequest(b"a", cursor=[entry()], since=999_999), POSITION, False),
        (StreamRequest(b"a", cursor=[entry(position=TimePosition(7))]), TimePosition(7), False),
        (StreamRequest(b"a", cursor=[entry(partition=2), entry()]), POSITION, False),
        (StreamRequest(b"a", cursor=[entry(kind=LogKind.BROADCAST)]), HEAD, True),
        (StreamRequest(b"a", cursor=[entry(kind=LogKind.BROADCAST)], since=999_999), HEAD, True),
    ],
)
def test_a_stream_begins_at_this_position(
    stream_request: StreamRequest, position: Position, *, checked: bool
) -> None:
    state = start_of(stream_request, feed_of())
    assert (state.position, state.checked, state.reset_entry) == (position, checked, None)


@pytest.mark.parametrize("wrong", [entry(tag=b"tagB"), entry(partition=2)])
def test_an_entry_of_another_incarnation_or_partition_is_kept_for_its_reset(
    wrong: CursorEntry,
) -> None:
    state = start_of(StreamRequest(b"a", cursor=[wrong]), feed_of())
    assert state.position == TimePosition(POSITION.timestamp)
    assert state.reset_entry == encode_entry(*wrong)
    assert not state.checked


@pytest.mark.parametrize("since", [None, 2_000_000])
def test_a_stream_begins_at_the_present_time_if_the_partition_is_not_read(
    since: int | None,
) -> None:
    state = start_of(StreamRequest(b"a", since=since), feed_of(read=False))
    assert (state.position, state.checked) == (TimePosition(NOW.wall), True)
