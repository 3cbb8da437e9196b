"""What a client asked for when it opened a stream, and where that puts it in each log."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.core.event_id import CursorEntry, encode_entry
from gateway.core.records import OffsetPosition, TimePosition
from gateway.core.stream import CatchUpState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.records import Moment
    from gateway.core.stream import PartitionFeed


SKEW_MS = 60_000
"""By how much producers' clocks may be behind, and how late a worker may learn that a topic grew.
To look that much further back costs reading, and shows nothing twice: none of it was seen yet."""


def unseen_since(timestamp: int) -> CatchUpState:
    """Return the place of a stream in a partition where its user's events go since `timestamp`."""
    return CatchUpState(TimePosition(max(timestamp - SKEW_MS, 0)), checked=False)


class StreamRequest(NamedTuple):
    """A request for a stream, after the edge has checked who asks and how it is written."""

    user: bytes
    """The user id in UTF-8: the record key."""
    categories: frozenset[str] | None = None
    session: str | None = None
    cursor: Sequence[CursorEntry] = ()
    """What its id says; empty without one."""
    since: int | None = None
    """Unix ms to start from, where there is no id."""
    malformed: bool = False
    """It had an id, which is none of ours."""
    issued_at: float | None = None
    """When its token was issued, in Unix seconds."""
    address: str = ""
    """Where the client comes from, as limits count it; empty: it does not matter."""

    def start(
        self, feed: PartitionFeed, feeds: Sequence[PartitionFeed], moment: Moment
    ) -> CatchUpState:
        """Return where the stream, which is to follow all `feeds`, begins in one of them.

        With an id, where it says. A mark for another incarnation is a `reset`, and so is one for a
        partition that the stream does not follow; one that it follows too is where the user's
        events went before the topic grew, so that nothing of the new one was seen yet. With
        `since`, there. Otherwise, and in a log that the id does not speak of, from now on: from the
        head of the tail, or while nobody reads the log from its first record after this moment.
        """
        topic = feed.topic
        entries = [entry for entry in self.cursor if entry.kind is topic.kind]
        here = [entry for entry in entries if entry.partition == feed.log.partition]
        if entries:
            entry = here[0] if here else entries[0]
            known = bool(here) and entry.tag == topic.tag
            if known and isinstance(entry.position, OffsetPosition):
                return CatchUpState(entry.position, checked=False, latest=moment.wall)
            followed = {other.log.partition for other in feeds if other.topic is topic}
            if not here and any(m.tag == topic.tag and m.partition in followed for m in entries):
                return unseen_since(entry.position.timestamp)
            since = TimePosition(min(entry.position.timestamp, moment.wall))
            return CatchUpState(
                since, checked=False, reset_entry=None if known else encode_entry(*entry)
            )
        if self.since is not None and not self.cursor and self.since < moment.wall:
            return CatchUpState(TimePosition(self.since), checked=False)
        if feed.tail is not None:
            return CatchUpState(feed.tail.head, checked=True)
        return CatchUpState(TimePosition(moment.wall), checked=True)
