"""Route: one topic of a partition map, and the partitions that keys select in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.absent_feed import AbsentFeed
from gateway.core.event_id import is_current
from gateway.core.records import LogKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.core.event_id import CursorEntry
    from gateway.core.feed import PartitionFeed
    from gateway.core.partitioner import KeyHash
    from gateway.core.request import StreamRequest
    from gateway.core.source import Topic

MOST_ABSENT = 10_000
"""Absent feeds of a missing topic. Beyond it they are dropped; streams keep theirs."""


class Route:
    """One topic as the map knows it; its order is that of the sources."""

    def __init__(self, topic: Topic, key_hash: KeyHash) -> None:
        self.topic = topic
        self._key_hash = key_hash
        self._absent: dict[object, AbsentFeed] = {}
        self.feeds: list[PartitionFeed] = []
        """By partition; empty while the topic is missing."""
        self.grown = float("-inf")
        """When the topic last grew (monotonic seconds)."""
        self.verified = 0
        """When the topic was last known to be as it was before its last change (Unix ms)."""

    def hash(self, name: bytes) -> int:
        """Return the hash of the key of a user."""
        key = self.topic.key
        return self._key_hash(name if key is None else key.key(name))

    def keys(self, user: bytes, groups: Mapping[str, tuple[bytes, ...]]) -> list[int]:
        """Return the hashes of the keys that a stream reads in the topic; 0 for broadcasts."""
        kind = self.topic.kind
        if kind is LogKind.USER:
            return [self.hash(user)]
        if kind is LogKind.GROUP:
            return [self._key_hash(key) for key in groups.get(self.topic.name, ())]
        return [0]

    def current(self, keys: Sequence[int]) -> list[int]:
        """Return the present partitions of keys, in ascending order."""
        return sorted({hashed % self.topic.partitions for hashed in keys})

    def former(
        self,
        keys: Sequence[int],
        current: Sequence[int],
        entries: Sequence[CursorEntry],
        *,
        settling: bool,
    ) -> tuple[list[int], bool]:
        """Return the former partitions to follow too, and whether an entry is not explained.

        `settling` states that the topic has grown within the settling time.
        """
        topic, mismatch = self.topic, False
        if topic.kind is LogKind.BROADCAST:
            return [], any(not is_current(entry, topic) for entry in entries)
        former: set[int] = set()
        for entry in entries:
            partition = entry.partition
            if not is_current(entry, topic):
                mismatch = True
            elif partition in current:
                continue
            elif any(
                partition in map(hashed.__mod__, range(partition + 1, topic.partitions))
                for hashed in keys
            ):
                if topic.kind is LogKind.GROUP or not former:
                    former.add(partition)
            else:
                mismatch = True
        if settling:
            # A key without an entry in the id is new to the client, which only a group can be.
            known = {entry.partition for entry in entries if topic.kind is LogKind.GROUP}
            former.update(
                hashed % topic.former[-1]
                for hashed in keys
                if known.isdisjoint({hashed % count for count in (topic.partitions, *topic.former)})
                and (topic.kind is LogKind.GROUP or not entries)
            )
        return sorted(former.difference(current)), mismatch

    def absent(
        self, request: StreamRequest, entries: Sequence[CursorEntry], room: int
    ) -> list[AbsentFeed]:
        """Return the feed that keeps the entries of an id while the topic is missing, if any.

        At most one of broadcasts, and two for each key: the present partition and the former one.
        `room` is the number of entries for which the id has room.
        """
        keys = len(self.keys(request.user, request.groups))
        most = 1 if self.topic.kind is LogKind.BROADCAST else 2 * keys
        kept = tuple(entries[: min(most, room)])
        since = None if request.cursor or not keys else request.since
        if not kept and since is None:
            return []
        feed = self._absent.get((kept, since))
        if feed is None:
            if len(self._absent) >= MOST_ABSENT:
                self._absent.clear()
            feed = self._absent[kept, since] = AbsentFeed(self.topic, kept, since)
        return [feed]

    def appear(self) -> None:
        """Drop the absent feeds; streams keep theirs until they are moved."""
        self._absent.clear()
