"""Tail: the recent records of one partition, in memory.

Invariants, checked by `tests/core/test_tail.py` after every step of random runs:

- contiguous: it holds every record of its partition from `base` up to `head`, and no other;
- offsets increase; they are compared and never subtracted;
- the per-key index and the records agree;
- `size` is the sum of the sizes of its records.

A tail never waits, logs or reads a clock. It does not limit its size: many tails share one budget,
and its owner evicts (`gateway.core.memory`). The caller compares offsets with `base` and handles
older ones; misuse raises `ValueError`, also with assertions disabled.
"""

from __future__ import annotations

from bisect import bisect_left
from operator import attrgetter
from typing import TYPE_CHECKING

from gateway.core.records import OffsetPosition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.records import Record

_offset = attrgetter("offset")


class Tail:
    """Records of one partition from `base` to `head`.

    A `keyed` tail indexes its records by key, so that the cost of reading one user's records does
    not depend on the other users' records. A broadcast tail does not need an index.
    """

    __slots__ = ("_by_key", "_records", "base", "head", "size")

    def __init__(self, start: OffsetPosition, *, keyed: bool) -> None:
        self.base = start
        """The oldest position from which a stream can catch up."""
        self.head = start
        """The position after the newest record; the next record has this offset or a higher one."""
        self.size = 0
        """Size in bytes, including Python's overhead."""
        self._records: list[Record] = []
        self._by_key: dict[bytes | None, list[Record]] | None = {} if keyed else None

    def __len__(self) -> int:
        return len(self._records)

    def warm(self, start: OffsetPosition, records: Sequence[Record]) -> None:
        """Prepend all records of the partition from `start` to before `base`."""
        if not start.offset <= self.base.offset or (
            records
            and not start.offset <= records[0].offset <= records[-1].offset < self.base.offset
        ):
            raise ValueError("records that warm a tail must end at its base")
        self._records = [*records, *self._records]
        self.base = start
        self.size += sum([record.size for record in records])
        if self._by_key is not None:
            older: dict[bytes | None, list[Record]] = {}
            for record in records:
                older.setdefault(record.key, []).append(record)
            for key, of_key in older.items():
                self._by_key[key] = of_key + self._by_key.get(key, [])

    def append(self, records: Sequence[Record]) -> tuple[Sequence[Record], list[Record]]:
        """Append the next records, oldest first; return (added, fresh).

        `added` omits records that the tail already has: a reader that goes back sends them again.
        `fresh` are the added records whose key is new in the tail; empty if it is not keyed.
        """
        if records and records[0].offset < self.head.offset:
            records = [record for record in records if record.offset >= self.head.offset]
        if not records:
            return records, []
        self._records.extend(records)
        self.head = OffsetPosition.after(records[-1])
        by_key = self._by_key
        if by_key is None:
            self.size += sum([record.size for record in records])
            return records, []
        size, fresh = 0, []
        for record in records:
            size += record.size
            of_key = by_key.get(record.key)
            if of_key is None:
                by_key[record.key] = [record]
                fresh.append(record)
            else:
                of_key.append(record)
        self.size += size
        return records, fresh

    def since(
        self, offset: int, key: bytes | None = None, most: int | None = None
    ) -> Sequence[Record]:
        """Return at most `most` records from `offset` on, of `key` if keyed.

        Oldest first; costs a binary search and a copy of the result. Raises `ValueError` for an
        offset below `base`, because the result would silently lack events.
        """
        if offset < self.base.offset:
            raise ValueError("older than the tail")
        records = self._records if self._by_key is None else self._by_key.get(key, ())
        begin = bisect_left(records, offset, key=_offset)
        return records[begin : None if most is None else begin + most]

    def since_any(
        self, offset: int, keys: Sequence[bytes | None], most: int | None = None
    ) -> Sequence[Record]:
        """Return the same for several keys, in offset order; `keys` must differ."""
        if len(keys) == 1:
            return self.since(offset, keys[0], most)
        found = [record for key in keys for record in self.since(offset, key, most)]
        found.sort(key=_offset)
        return found[:most]

    def fits(self, position: OffsetPosition) -> bool | None:
        """Return whether a position from `base` to `head` can be of this partition.

        False is proven: the previous record is in the tail and has another timestamp. None at a
        `base` whose previous record is unknown: only a scan can tell.
        """
        if not position.seen:
            return True
        if position.offset == self.base.offset:
            return self.base.timestamp == position.timestamp if self.base.seen else None
        index = self._index_of(position.offset) - 1
        if index < 0:
            return True
        before = self._records[index]
        return before.offset + 1 != position.offset or before.timestamp == position.timestamp

    def first_at_or_after(self, offset: int, timestamp: int) -> int:
        """Return the first offset from `offset` on with at least `timestamp` (ms).

        `head` if all are older. Equals Kafka's ListOffsets by time, from memory.
        """
        for index in range(self._index_of(offset), len(self._records)):
            if self._records[index].timestamp >= timestamp:
                return self._records[index].offset
        return self.head.offset

    def evict(self, size: int) -> list[Record]:
        """Remove and return the oldest records, at least `size` bytes or all.

        Moves the pointers of all other records, so evict many at once.
        """
        freed = count = 0
        for record in self._records:
            if freed >= size:
                break
            freed += record.size
            count += 1
            if self._by_key is not None:
                of_key = self._by_key[record.key]
                assert of_key[0] is record, "the index lost its order"
                if len(of_key) == 1:
                    del self._by_key[record.key]
                else:
                    del of_key[0]
        evicted = self._records[:count]
        del self._records[:count]
        if evicted:
            self.base = OffsetPosition.after(evicted[-1])
        self.size -= freed
        return evicted

    def discard(self, most: int) -> bool:
        """Free the newest `most` records of a tail that is not used any more.

        Returns whether records are left.
        """
        if self._by_key is not None:
            for record in self._records[-most:]:
                self._by_key.pop(record.key, None)
        del self._records[-most:]
        return bool(self._records)

    def _index_of(self, offset: int) -> int:
        return bisect_left(self._records, offset, key=_offset)
