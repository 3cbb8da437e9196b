"""Where logs start and end, and where a time is in them: ListOffsets, on a connection of its own.

A broker answers the requests of one connection in order, and holds a fetch that finds nothing; a
question behind it would wait for half a second.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition

from gateway.core.limits import Extent
from gateway.kafka.consumer import REQUEST_MS, Consumer
from gateway.kafka.seeker import LogSeeker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.log import Log
    from gateway.kafka.metadata import Cluster

NO_TIMESTAMP = -1
"""What Kafka calls no timestamp."""

EMBEDDED_CLUSTER = "tansu_cluster"
"""What the embedded broker calls its cluster, unless it is told otherwise."""


class Offsets:
    """Answers about logs. All raise aiokafka's `KafkaError` when the leader does not answer."""

    def __init__(self, options: dict[str, Any], cluster_id: str) -> None:
        self._consumer = Consumer(options, isolation_level="read_committed")
        self._seeker = LogSeeker(options) if cluster_id == EMBEDDED_CLUSTER else None
        self._seeking = asyncio.Lock()

    async def start(self) -> None:
        """Connect."""
        await self._consumer.start()
        if self._seeker is not None:
            await self._seeker.start()

    async def stop(self) -> None:
        """Disconnect."""
        await self._consumer.stop()
        if self._seeker is not None:
            await self._seeker.stop()

    async def describe(self, topics: Sequence[str]) -> Cluster:
        """Return what any broker says of these topics; one away is no reason to turn clients away.

        Raises `KafkaConnectionError` where none does.
        """
        return await self._consumer.describe(topics)

    async def end(self, log: Log) -> int:
        """Return the offset after the last record that can be read: the last stable offset."""
        partition = TopicPartition(*log)
        end: int = (await self._consumer.end_offsets([partition]))[partition]
        return end if self._seeker is None else await self._true_end(self._seeker, log, end)

    async def at(self, log: Log, timestamp: int) -> int | None:
        """Return the offset of the first record at or after `timestamp` (ms); None: there is none.

        Raises `ValueError` for no timestamp.
        """
        partition = TopicPartition(*log)
        found = (await self._consumer.offsets_for_times({partition: timestamp}))[partition]
        # For none Kafka answers with offset -1, which aiokafka makes None of; the embedded broker
        # answers with offset 0 and no timestamp.
        return None if found is None or found.timestamp == NO_TIMESTAMP else int(found.offset)

    async def extent(self, log: Log, cutoff: int) -> Extent:
        """Return where the log starts and ends, and its first record at or after `cutoff` (ms)."""
        partition = TopicPartition(*log)
        start = (await self._consumer.beginning_offsets([partition]))[partition]
        young = await self.at(log, cutoff)
        # The end last: it must not be before anything found above.
        end = await self.end(log)
        return Extent(start, end, end if young is None else young, cutoff)

    async def _true_end(self, seeker: LogSeeker, log: Log, end: int) -> int:
        """Return the end that a fetch tells.

        The embedded broker (tansu 0.6) answers the base offset of the last batch + 1, which is too
        low where that batch holds more than one record. Its fetches know better.
        """
        if end == 0:
            return 0
        async with self._seeking:
            seeker.seek(log, end - 1)
            await seeker.fetch(REQUEST_MS, most=1)
            return max(end, seeker.highwater())
