"""What aiokafka has fetched, handed out as it was unpacked, and many records at a time.

aiokafka makes a record of eleven fields out of each that it has unpacked, and hands it through two
iterators and a loop in Python: together that costs more than to unpack it. A worker reads records
by the ten thousand that nobody waits for, and what it keeps of the others it makes into its own.
The objects that aiokafka unpacks have all that is needed for that: offset, timestamp, key, value
and headers. So a *run* takes the place of a record: a list of those that follow each other.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any
from weakref import proxy

from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.errors import CorruptRecordException

if TYPE_CHECKING:
    from collections.abc import Iterator

EVERYTHING = 1 << 30


class Unpacked(OrderedDict[Any, Any]):
    """Takes the place of the fetcher's own store, where every result passes on its way."""

    def __init__(self) -> None:
        super().__init__()
        self.most = EVERYTHING
        """How many records the next run may have."""

    def __setitem__(self, partition: Any, result: Any) -> None:
        records = getattr(result, "_partition_records", None)  # an error has none
        if records is not None:
            # Not a cycle: what is left unread of a fetch goes when it is dropped, not when Python
            # next looks for cycles.
            records._records_iterator = self._runs(proxy(records))  # noqa: SLF001
        super().__setitem__(partition, result)

    def _runs(self, fetched: Any) -> Iterator[list[Any]]:
        """Yield runs of what was fetched for a partition, without what is aborted or a marker.

        `fetched.next_fetch_offset` is what follows a run when it is yielded: a batch may end behind
        its last record.
        """
        batches = fetched._records  # noqa: SLF001
        run: list[Any] = []
        follows = fetched.next_fetch_offset
        while batches.has_next():
            batch = batches.next_batch()
            if fetched._check_crcs and not batch.validate_crc():  # noqa: SLF001
                raise CorruptRecordException(f"the checksum of a batch at {batch.base_offset}")
            if not _is_dropped(fetched, batch):
                whole = batch.base_offset >= follows  # else older ones come with it
                run += batch if whole else [each for each in batch if each.offset >= follows]
                while len(run) >= self.most:
                    part, run = run[: self.most], run[self.most :]
                    fetched.next_fetch_offset = part[-1].offset + 1
                    yield part
            follows = batch.next_offset
            if not run:
                fetched.next_fetch_offset = follows
        if run:
            fetched.next_fetch_offset = follows
            yield run


def _is_dropped(fetched: Any, batch: Any) -> bool:
    """Return whether a batch is a marker, or of a transaction that was aborted (KIP-98)."""
    if batch.producer_id is None or fetched._isolation_level != READ_COMMITTED:  # noqa: SLF001
        return bool(batch.is_control_batch)
    if fetched._aborted_transactions:  # noqa: SLF001
        fetched._consume_aborted_up_to(batch.base_offset)  # noqa: SLF001
    aborted = fetched._aborted_producers  # noqa: SLF001
    if batch.is_control_batch:
        if fetched._contains_abort_marker(batch):  # noqa: SLF001
            aborted.discard(batch.producer_id)
        return True
    return bool(batch.is_transactional and batch.producer_id in aborted)
