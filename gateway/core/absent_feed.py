"""Absent feed: the place of a missing topic in a stream, until the topic appears.

A client's id may have entries of a topic that a worker does not find: the topic was deleted, or the
worker lacks the right to see it. Its streams keep these entries in their ids, and resume from them
when the topic appears, as if they were opened then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.event_id import Version, convert, encode_entry
from gateway.core.feed import PartitionFeed
from gateway.core.records import OffsetPosition, TopicPartition
from gateway.core.tail import Tail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.event_id import CursorEntry
    from gateway.core.records import Position
    from gateway.core.source import Topic


class AbsentFeed(PartitionFeed):
    """The entries of a client's id in a missing topic; an empty partition for its streams.

    Streams are live here: no record arrives, and nothing is read. `since` (Unix ms) is the start
    time of streams without an id.
    """

    def __init__(self, topic: Topic, entries: Sequence[CursorEntry], since: int | None) -> None:
        converted = [convert(entry, Version.TWO, topic.kind, topic.mark) for entry in entries]
        # Two forged partitions of version 1 may become the same one of version 2.
        self.entries = tuple({entry.partition: entry for entry in converted}.values())
        self.since = since
        first = self.entries[0] if self.entries else None
        partition = 0 if first is None else first.partition
        super().__init__(TopicPartition(topic.name, partition), topic, Version.TWO)
        self._encoded = b"".join([encode_entry(*entry) for entry in self.entries])
        position = None if first is None else first.position
        if not isinstance(position, OffsetPosition):
            position = OffsetPosition(0, 0 if position is None else position.timestamp, seen=False)
        self.tail = Tail(position, keyed=self.keyed)

    def entry(self, position: Position, partition: int | None = None) -> bytes:
        """Return the entries of the client's id, whatever the position."""
        del position, partition
        return self._encoded

    def owns(self, entry: CursorEntry) -> bool:
        """Return False: the incarnation of a missing topic is not known."""
        del entry
        return False
