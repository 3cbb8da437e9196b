"""An index: where the records of each key are, of a log that is longer than its tail.

A client that was away for a million records of others has missed ten of its own. To read the
million to find the ten costs seconds; the worker has read them before, and all that it needs to
have kept is where each key's are. So what leaves a tail is noted here: for each record 4 bytes of
the key's hash and 8 of the offset, and a scan reads only the records that concern somebody.

An index is contiguous from `start` up to the tail's base. It says where a key may be: two keys in
four billion share a hash, and then a record is read in vain. What it has no room for it forgets,
the oldest first; a scan reads those stretches as if there were no index.
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
"""Keys up to which each is searched for by itself, at some 2 µs for 10,000 records; more are looked
up record by record, at some 400 µs whatever their number. Measured on CPython 3.11."""


class Index:
    """Key hashes and offsets of the records that have left a tail, in their order."""

    __slots__ = ("_hashes", "_offsets")

    def __init__(self) -> None:
        self._hashes = bytearray()
        self._offsets = array("q")

    def __len__(self) -> int:
        return len(self._offsets)

    @property
    def size(self) -> int:
        """Bytes held."""
        return ENTRY_BYTES * len(self._offsets)

    @property
    def start(self) -> int:
        """The first offset that it knows; only of an index that is not empty."""
        return self._offsets[0]

    def append(self, records: Sequence[Record]) -> None:
        """Note records that come next in the log."""
        if records:
            assert not self._offsets or self._offsets[-1] < records[0].offset
            self._offsets.extend([record.offset for record in records])
            hashes = [crc32(record.key or b"") for record in records]
            self._hashes += pack(f"={len(hashes)}I", *hashes)

    def discard(self, count: int) -> None:
        """Forget the oldest records. Costs a move of all that stay, so forget many at once."""
        del self._offsets[:count]
        del self._hashes[: count * HASH_BYTES]

    def clear(self) -> None:
        """Forget all."""
        self.discard(len(self))

    def find(self, keys: Collection[bytes | None], begin: int, end: int) -> list[int]:
        """Return the offsets from `begin` up to `end` that may have a record of these keys."""
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
        """Yield the slots of a hash; bytes that straddle two hashes are none."""
        needle, end = pack("=I", wanted), last * HASH_BYTES
        at = self._hashes.find(needle, first * HASH_BYTES, end)
        while at >= 0:
            slot, rest = divmod(at, HASH_BYTES)
            if not rest:
                yield slot
            at = self._hashes.find(needle, at + 1, end)
