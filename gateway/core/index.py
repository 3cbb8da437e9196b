"""Index: the offsets of each key's records that have left the tail.

A client that missed a million records of other users has missed ten of its user. Reading a million
records to find ten takes seconds, but the worker has read them before, and offsets by key are all
that it has to remember. When a record leaves the tail, the index stores 4 bytes of the key's hash
and 8 bytes of the offset, and a scan reads only the records of keys that it looks for.

An index is contiguous from `start` to the tail's base. A hit is not certain: two keys in four
billion share a hash, and the scan then reads a record in vain. When memory is used up, the oldest
entries are discarded; a scan reads that range record by record.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from struct import pack
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from gateway.core.records import Record

ENTRY_BYTES = 12
HASH_BYTES = 4

FEW = 16
"""Up to this many keys are searched one by one, at some 2 µs each for 10,000 records; more are
looked up record by record, at some 400 µs for any number. Measured on CPython 3.11."""


class Index:
    """Key hashes and offsets of the records that have left a tail, in offset order."""

    __slots__ = ("_hashes", "_offsets")

    def __init__(self) -> None:
        self._hashes = bytearray()
        self._offsets = array("q")

    def __len__(self) -> int:
        return len(self._offsets)

    @property
    def size(self) -> int:
        """Size in bytes."""
        return ENTRY_BYTES * len(self._offsets)

    @property
    def start(self) -> int:
        """The first offset; only for a non-empty index."""
        return self._offsets[0]

    def append(self, records: Sequence[Record]) -> None:
        """Append the next records of the partition."""
        if records:
            assert not self._offsets or self._offsets[-1] < records[0].offset
            self._offsets.extend([record.offset for record in records])
            hashes = [crc32(record.key or b"") for record in records]
            self._hashes += pack(f"={len(hashes)}I", *hashes)

    def discard(self, count: int) -> None:
        """Discard the `count` oldest records; moves all others, so discard many at once."""
        del self._offsets[:count]
        del self._hashes[: count * HASH_BYTES]

    def clear(self) -> None:
        """Discard all records."""
        self.discard(len(self))

    def find(self, keys: Collection[bytes | None], begin: int, end: int) -> list[int]:
        """Return offsets from `begin` to before `end` that may hold records of `keys`."""
        first, last = bisect_left(self._offsets, begin), bisect_left(self._offsets, end)
        wanted = {crc32(key or b"") for key in keys}
        if len(wanted) <= FEW:
            slots = sorted({slot for each in wanted for slot in self._search(each, first, last)})
        else:
            with memoryview(self._hashes)[first * HASH_BYTES : last * HASH_BYTES] as view:
                hashes = enumerate(view.cast("I"), first)
                slots = [slot for slot, number in hashes if number in wanted]
        return [self._offsets[slot] for slot in slots]

    def _search(self, wanted: int, first: int, last: int) -> Iterator[int]:
        """Yield the slots that hold a hash; matches across two hashes are skipped."""
        needle, end = pack("=I", wanted), last * HASH_BYTES
        at = self._hashes.find(needle, first * HASH_BYTES, end)
        while at >= 0:
            slot, rest = divmod(at, HASH_BYTES)
            if not rest:
                yield slot
            at = self._hashes.find(needle, at + 1, end)
