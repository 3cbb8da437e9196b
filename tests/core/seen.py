"""What a client has seen of its partitions, besides events."""

from __future__ import annotations

from typing import NamedTuple

from gateway.core.absent_feed import AbsentFeed
from gateway.core.feed import PartitionFeed
from gateway.core.gap import GapReason
from gateway.core.records import Position, TopicPartition
from gateway.core.stream import Stream


class SeenGap(NamedTuple):
    """A gap that the client received; `epoch` is when the worker wrote it."""

    reason: GapReason
    log: TopicPartition | None
    first: int | None
    next: int | None
    since: int
    """Unix ms; 0 if unknown."""
    epoch: int
    received: int
    """Number of events received before the gap."""


class Crossing(NamedTuple):
    """A position of the client in a partition that was recreated since."""

    log: TopicPartition
    incarnation: int
    position: Position
    foreign: bool
    """Whether the id's tag is of another incarnation."""
    by_id: bool
    """Whether the position came from the client's id; otherwise from an open stream."""


def positions_in(stream: Stream, feed: PartitionFeed, log: TopicPartition) -> list[Position]:
    """Return the positions in a partition from which a stream may continue in a new incarnation."""
    if isinstance(feed, AbsentFeed):
        return [
            entry.position for entry in feed.entries if (feed.topic.name, entry.partition) == log
        ]
    state = stream.catching_up.get(feed)
    following = None if state is None else state.next_position
    return [stream.position(feed), *([] if following is None else [following])]
