"""A tail: the recent part of one log, held in memory.

Invariants, checked by `tests/core/test_tail.py` after every step of random runs:

- contiguous: it has every record of its log from `base` up to `head`, and none outside;
- offsets rise; they are compared and never subtracted;
- the per-key index and the records agree;
- `size` is the sum of the sizes of its records.

A tail never waits, logs or reads a clock, and does not bound itself: many tails share one budget,
so whoever holds them all evicts (`gateway.core.memory`). "Older than the tail" is an ordinary
answer of the caller's comparison with `base`; misuse raises `ValueError`, also without assertions.
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
    """Records of one log from `base` to `head`.

    `keyed` tails index their records by key, so that reading one user's records costs that user's
    records and not the partition's; a broadcast log has no use for an index.
    """

    __slots__ = ("_by_key", "_records", "base", "head", "size")

    def __init__(self, start: OffsetPosition, *, keyed: bool) -> None:
        self.base = start
        """The oldest position that can be brought up from here."""
        self.head = start
        """The position after the newest record; the next record has this offset or a higher one."""
        self.size = 0
        """Bytes held, Python's own overhead included."""
        self._records: list[Record] = []
        self._by_key: dict[bytes | None, list[Record]] | None = {} if keyed else None

    def __len__(self) -> int:
        return len(self._records)

    def warm(self, start: OffsetPosition, records: Sequence[Record]) -> None:
        """Put older records, all that the log has from `start` up to `base`, in front."""
        if not start.offset <= self.base.offset or (
            records
            and not start.offset <= records[0].offset <= records[-1].offset < self.base.offset
        ):
            raise ValueError("what a tail is warmed with has to end where it begins")
        self._records = [*records, *self._records]
        self.base = start
        self.size += sum([record.size for record in records])
        if self._by_key is not None:
            self._by_key = {}
            self._index(self._records)

    def append(self, records: Sequence[Record]) -> tuple[Sequence[Record], list[Record]]:
        """Add the records that come next in the log, oldest first.

        Returns those that were added, without any that the tail has had before, as a reader that
        goes back sends them again; and of these the ones whose key was not in the tail before, none
        for a log without keys.
        """
        if records and records[0].offset < self.head.offset:
            records = [record for record in records if record.offset >= self.head.offset]
        if not records:
            return records, []
        self._records.extend(records)
        self.size += sum([record.size for record in records])
        self.head = OffsetPosition.after(records[-1])
        return records, [] if self._by_key is None else self._index(records)

    def since(
        self, offset: int, key: bytes | None = None, most: int | None = None
    ) -> Sequence[Record]:
        """Return the records from `offset` on, oldest first: of `key`, where the tail is keyed.

        All of them, or at most so many. Costs a binary search and a copy of what is returned. The
        caller has compared `offset` with `base`; raises `ValueError` for an older one, since events
        would be missing without a word.
        """
        if offset < self.base.offset:
            raise ValueError("older than the tail")
        records = self._records if self._by_key is None else self._by_key.get(key, ())
        begin = bisect_left(records, offset, key=_offset)
        return records[begin : None if most is None else begin + most]

    def fits(self, position: OffsetPosition) -> bool | None:
        """Whether a position between `base` and `head` can be one of this log.

        False only with proof: the record before it is here, and has another timestamp. None at a
        `base` without a known record before it: only the log can tell.
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
        """Return the offset of the first record from `offset` on with at least that timestamp.

        `head` where there is none. As Kafka's ListOffsets by time does, but without leaving memory.
        """
        for index in range(self._index_of(offset), len(self._records)):
            if self._records[index].timestamp >= timestamp:
                return self._records[index].offset
        return self.head.offset

    def evict(self, size: int) -> list[Record]:
        """Drop the oldest records until `size` bytes are free, or all; return them.

        Costs a move of the pointers that stay, so evict much at once.
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

    def _index_of(self, offset: int) -> int:
        return bisect_left(self._records, offset, key=_offset)

    def _index(self, records: Sequence[Record]) -> list[Record]:
        by_key = self._by_key
        assert by_key is not None
        fresh = []
        for record in records:
            of_key = by_key.get(record.key)
            if of_key is None:
                by_key[record.key] = [record]
                fresh.append(record)
            else:
                of_key.append(record)
        return fresh
