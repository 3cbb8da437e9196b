"""Memory: one budget for all tails and indexes of a worker.

The budget is shared, because the busiest partitions are not known in advance. When it is used up,
the largest tail evicts its oldest records, and the partition's index records their offsets; an
index without room discards its oldest entries. Sizes are summed on demand instead of maintained,
and only when the records that were added since the last sum may have used up the budget.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.feed import PartitionFeed
    from gateway.core.records import TopicPartition

EVICT_SHARE = 64
"""An eviction frees a 64th of the budget, because each one moves the pointers of a tail."""

INDEX_SHARE = 8
"""Indexes get an eighth of the budget: by default 16 MiB, or 1.4 million records."""

FORGET_SHARE = 16
"""An index discards a 16th of its entries at a time, because the others are moved."""


class Memory:
    """The budget of `most` bytes that all feeds share."""

    def __init__(self, most: int, feeds: Mapping[TopicPartition, PartitionFeed]) -> None:
        self._feeds = feeds
        self._for_indexes = most // INDEX_SHARE
        self._for_tails = most - self._for_indexes
        self._free = 0
        """Lower bound of the bytes left for tails: evicted and discarded ones are not counted."""

    @property
    def tails(self) -> int:
        """Bytes in all tails."""
        return sum([feed.tail.size for feed in self._feeds.values() if feed.tail is not None])

    @property
    def indexes(self) -> int:
        """Bytes in all indexes."""
        return sum([feed.index.size for feed in self._feeds.values()])

    def enforce(self, added: int | None = None) -> None:
        """Evict the oldest records and index entries that exceed the budget.

        `added` is the number of bytes added to tails since the last call; None: unknown.
        """
        if added is not None:
            self._free -= added
            if self._free >= 0:
                return
        held = self.tails
        self._free = self._for_tails - held
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
