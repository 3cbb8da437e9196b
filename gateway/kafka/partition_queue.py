"""Records that wait to be written to their partition, oldest first."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from contextlib import suppress
from copy import copy
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiokafka.errors import KafkaError
    from aiokafka.record.default_records import DefaultRecordBatchBuilder

    from gateway.core.records import TopicPartition
    from gateway.kafka.envelope import Message

ATTEMPTS = 3
"""How often records are resent under a new producer id before they fail."""

_TOO_LARGE = {10, 18}
"""Message too large, record list too large."""

SEQUENCE_BROKEN = {45, 47, 59, 90}
"""Out of order sequence number, invalid producer epoch, unknown producer id, producer fenced."""


class WaitingRecord(NamedTuple):
    """A record to write; `since` is a time of the loop's clock."""

    written: asyncio.Future[None]
    message: Message
    timestamp: int
    since: float
    size: int


class PartitionQueue:
    """The records that wait for their partition, oldest first."""

    def __init__(self, log: TopicPartition) -> None:
        self.log = log
        self.waiting: deque[WaitingRecord] = deque()
        self.size = 0
        """Size of the waiting records in bytes."""
        self.blocked: OrderedDict[asyncio.Future[None], WaitingRecord] = OrderedDict()
        """Records for which there is no room yet, and the futures of their callers."""
        self.counts: deque[int] = deque()
        """Number of records in each of the next batches, which repeat rejected ones."""
        self.renumbered = 0
        self.changed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def put(self, record: WaitingRecord) -> None:
        """Append a record."""
        self.waiting.append(record)
        self.size += record.size
        self.changed.set()

    async def put_later(self, record: WaitingRecord) -> None:
        """Append a record as soon as there is room; each caller is woken once, in order."""
        admitted = asyncio.get_running_loop().create_future()
        self.blocked[admitted] = record
        try:
            await admitted
        finally:
            self.blocked.pop(admitted, None)

    def admit(self, max_bytes: int) -> None:
        """Append blocked records while fewer bytes wait."""
        while self.blocked and self.size < max_bytes:
            admitted, record = self.blocked.popitem(last=False)
            if not admitted.done():
                self.put(record)
                admitted.set_result(None)

    def fail(self, error: KafkaError) -> None:
        """Fail all records."""
        _resolve(self.waiting, error)
        self.waiting.clear()
        for admitted in self.blocked:
            if not admitted.done():
                admitted.set_exception(copy(error))

    def take(self, builder: DefaultRecordBatchBuilder) -> list[WaitingRecord]:
        """Encode and remove the records of the next batch."""
        most = self.counts.popleft() if self.counts else len(self.waiting)
        records: list[WaitingRecord] = []
        while len(records) < most:
            _, message, timestamp, _, size = self.waiting[0]
            _, key, value, headers = message
            if builder.append(len(records), timestamp, key, value, headers) is None:
                break  # the batch is full
            records.append(self.waiting.popleft())
            self.size -= size
        return records

    def end(self, records: list[WaitingRecord], code: int, error: KafkaError | None) -> None:
        """Resolve the futures of a batch, or put its records back to be resent."""
        half = (len(records) + 1) // 2
        if code in SEQUENCE_BROKEN and self.renumbered < ATTEMPTS:
            self.renumbered += 1
            parts = [records]
        elif code in _TOO_LARGE and half < len(records):
            parts = [records[:half], records[half:]]
        else:
            self.renumbered = 0
            _resolve(records, error)
            return
        self.counts.extendleft(len(part) for part in reversed(parts))
        self.waiting.extendleft(reversed(records))
        self.size += sum(record.size for record in records)

    async def wait(self, seconds: float | None = None) -> None:
        """Wait for a change of the records, or until the time is over."""
        self.changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.changed.wait()


def _resolve(records: Iterable[WaitingRecord], error: KafkaError | None) -> None:
    for record in records:
        if record.written.done():  # the caller was cancelled
            continue
        if error is None:
            record.written.set_result(None)
        else:
            record.written.set_exception(copy(error))
            record.written.exception()  # the caller may not wait for it any more
