"""Memory: what all tails and indexes of a worker may hold together.

One budget is shared by all logs, because nobody can say in advance which of them will be busy. When
it is used up the biggest tail loses its oldest records, and the index of its log notes where they
are; an index that has no room forgets. What is held is summed up when it is asked for, rather than
kept: there are as many tails as partitions, and as many questions as batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.records import TopicPartition
    from gateway.core.stream import PartitionFeed

EVICT_SHARE = 64
"""Eviction frees a 64th of the budget at a time, since each one moves a tail's pointers."""

INDEX_SHARE = 8
"""An eighth of the budget is for indexes: by default 16 MiB, which is 1.4 million records."""

FORGET_SHARE = 16
"""An index forgets a 16th of itself at a time, since that moves all that stays."""


class Memory:
    """The budget of `most` bytes that the feeds share."""

    def __init__(self, most: int, feeds: Mapping[TopicPartition, PartitionFeed]) -> None:
        self._feeds = feeds
        self._for_indexes = most // INDEX_SHARE
        self._for_tails = most - self._for_indexes

    @property
    def tails(self) -> int:
        """Bytes in all tails."""
        return sum([feed.tail.size for feed in self._feeds.values() if feed.tail is not None])

    @property
    def indexes(self) -> int:
        """Bytes in all indexes."""
        return sum([feed.index.size for feed in self._feeds.values()])

    def enforce(self) -> None:
        """Let go of the oldest where there is more than the budget allows."""
        held = self.tails
        if held <= self._for_tails:
            return
        wanted = held - self._for_tails + self._for_tails // EVICT_SHARE
        while wanted > 0:
            feed = max(self._feeds.values(), key=lambda feed: feed.tail.size if feed.tail else 0)
            assert feed.tail is not None
            before = feed.tail.size
            evicted = feed.tail.evict(wanted)
            wanted -= before - feed.tail.size
            if feed.keyed:
                feed.index.append(evicted)
        while self.indexes > self._for_indexes:
            index = max((feed.index for feed in self._feeds.values()), key=len)
            index.discard(len(index) // FORGET_SHARE + 1)
