"""Inspects logs for an operator: start and end offsets, and single records.

For commands that run once. Nothing is cached, committed or created; the requested topics must
exist (`gateway.kafka.topics.describe` lists them).
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from gateway.kafka.fetch.scanner import LogScanner
from gateway.kafka.offsets import Offsets
from gateway.kafka.topics import ANSWER_SECONDS, connected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.core.records import Record, TopicPartition
    from gateway.kafka.client.cluster import ClusterClient


class Probe(Offsets):
    """Inspects logs; made by `probe`. Every method raises aiokafka's `KafkaError`."""

    def __init__(self, cluster: ClusterClient, scanner: LogScanner) -> None:
        super().__init__(cluster)
        self._scanner = scanner

    async def record(self, log: TopicPartition, offset: int) -> Record | None:
        """Return the record at the offset; None if it was compacted or is a marker."""
        found = await self._read(log, offset, offset + 1)
        return next((record for record in found if record.offset == offset), None)

    async def newest(self, log: TopicPartition, count: int) -> list[Record]:
        """Return the records of the last `count` offsets, oldest first."""
        extent = await self.extent(log, 0)
        return await self._read(log, max(extent.start, extent.end - count), extent.end)

    async def _read(self, log: TopicPartition, start: int, end: int) -> list[Record]:
        """Return the records between two offsets that arrive before the timeout."""
        if start >= end:
            return []
        self._scanner.seek(log, start)
        found: list[Record] = []
        position = start
        while position < end:
            fetched, following = await self._scanner.fetch()
            if following == position:  # at the end: only markers are left
                break
            found += fetched
            position = following
        return found


@asynccontextmanager
async def probe(options: dict[str, Any], timeout: float = ANSWER_SECONDS) -> AsyncIterator[Probe]:
    """Provide a probe for the block, which must end within `timeout` seconds.

    Raises `BrokerError` when the brokers do not answer in time, or reject a request.
    """
    async with connected(options, timeout) as client:
        scanner = LogScanner(client)
        try:
            yield Probe(client, scanner)
        finally:
            scanner.close()
