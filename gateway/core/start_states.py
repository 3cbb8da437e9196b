"""Start states: where a new stream begins in each of its partitions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.absent_feed import AbsentFeed
from gateway.core.catch_up_state import CatchUpState
from gateway.core.event_id import CursorEntry, by_topic, is_current
from gateway.core.records import LogKind, OffsetPosition, TimePosition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.feed import PartitionFeed
    from gateway.core.records import Moment
    from gateway.core.request import StreamRequest
    from gateway.core.source import Topic

SKEW_MS = 60_000
"""Tolerance for producers' clocks that are behind, and for a worker that learns late that a topic
has grown. Reading that much earlier costs time and repeats no event: none of them was sent yet."""


def unseen_since(timestamp: int) -> CatchUpState:
    """Return the state of a stream in a partition used since `timestamp` (ms)."""
    return CatchUpState(TimePosition(max(timestamp - SKEW_MS, 0)), checked=False)


def start_states(
    request: StreamRequest, feeds: Sequence[PartitionFeed], moment: Moment
) -> list[CatchUpState]:
    """Return where a stream that follows `feeds` begins in each of them.

    With an id: at the position of its entry. An entry of another incarnation leads to a gap
    `reset`, and so does one of a partition that is not in `feeds`. An entry of another
    partition in `feeds` is the user's former partition, so nothing of the new one was sent yet.
    An entry of a topic that is not in `feeds` is ignored. With `since`: at that time.
    Otherwise, and in a topic without an entry: at the head of the tail, or at the first record
    after `moment` if the partition is not read. In an absent feed the stream is live.
    """
    if request.cursor and is_of(request, feeds):
        return [
            CatchUpState(entry.position, checked=False, latest=moment.wall)
            for entry in request.cursor
        ]
    owned = by_topic(request.cursor, [feed.topic for feed in feeds])
    return [
        CatchUpState(feed.head, checked=True)
        if isinstance(feed, AbsentFeed)
        else _start(request, feed, owned.get(feed.topic.name, ()), feeds, moment)
        for feed in feeds
    ]


def is_of(request: StreamRequest, feeds: Sequence[PartitionFeed]) -> bool:
    """Return whether the id has an offset for each of `feeds`, in their order, and no more."""
    if len(request.cursor) != len(feeds):
        return False
    for feed, entry in zip(feeds, request.cursor, strict=True):
        if entry.position.__class__ is not OffsetPosition or not feed.owns(entry):
            return False
    return True


def _start(
    request: StreamRequest,
    feed: PartitionFeed,
    entries: Sequence[CursorEntry],
    feeds: Sequence[PartitionFeed],
    moment: Moment,
) -> CatchUpState:
    """Return where the stream begins in `feed`; `entries` are those of its topic."""
    topic = feed.topic
    if topic.kind is LogKind.GROUP:
        entries = _of_groups(entries, topic, feeds)
    here = [entry for entry in entries if entry.partition == feed.log.partition]
    if entries:
        entry = here[0] if here else entries[0]
        known = bool(here) and is_current(entry, topic)
        if known and isinstance(entry.position, OffsetPosition):
            return CatchUpState(entry.position, checked=False, latest=moment.wall)
        followed = {other.log.partition for other in feeds if other.topic is topic}
        if not here and any(is_current(m, topic) and m.partition in followed for m in entries):
            return unseen_since(entry.position.timestamp)
        since = TimePosition(min(entry.position.timestamp, moment.wall))
        if topic.kind is LogKind.GROUP:  # several partitions may begin at one entry
            entry = entry._replace(partition=feed.log.partition)
        reset_entry = None if known else feed.foreign_entry(entry)
        return CatchUpState(since, checked=False, reset_entry=reset_entry)
    return _new(request, feed, moment)


def _new(request: StreamRequest, feed: PartitionFeed, moment: Moment) -> CatchUpState:
    """Return where the stream begins in a partition of which its id has nothing."""
    if request.since is not None and not request.cursor and request.since < moment.wall:
        return CatchUpState(TimePosition(request.since), checked=False)
    if feed.tail is not None:
        return CatchUpState(feed.tail.head, checked=True)
    return CatchUpState(TimePosition(moment.wall), checked=True)


def _of_groups(
    entries: Sequence[CursorEntry], topic: Topic, feeds: Sequence[PartitionFeed]
) -> Sequence[CursorEntry]:
    """Return the entries of a group topic that count; the newest of a followed partition first.

    Entries of partitions that are not followed belong to groups that the token no longer names,
    unless the topic was recreated. The first one decides where a partition without an entry
    begins: its group is new to the client, or has moved because the topic has grown.
    """
    followed = {feed.log.partition for feed in feeds if feed.topic is topic}
    known = [entry for entry in entries if entry.partition in followed]
    known.sort(key=lambda entry: entry.position.timestamp, reverse=True)
    return known or [entry for entry in entries if not is_current(entry, topic)]
