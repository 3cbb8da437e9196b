"""Offset lookups (ListOffsets): start, end, and the first record after a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.core.limits import Extent
from gateway.kafka.client.cluster import END, START, ClusterClient

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.core.records import TopicPartition
    from gateway.kafka.client.requests import ListedOffset

NO_TIMESTAMP = -1
"""The timestamp in a response without a matching record."""

LATEST_TIMESTAMP = (1 << 63) - 1
"""Timestamps are signed 64-bit integers in Kafka's protocol."""


class Offsets:
    """Offset lookups; concurrent ones share requests (see `ClusterClient.offset`).

    All methods raise aiokafka's `KafkaError` if the leader does not answer.
    """

    def __init__(self, cluster: ClusterClient) -> None:
        self._cluster = cluster

    async def end(self, log: TopicPartition) -> int:
        """Return the offset after the last readable record: the last stable offset."""
        return await self._true_end(log, (await self._cluster.offset(log, END)).offset)

    async def end_and_epoch(self, log: TopicPartition) -> tuple[int, int]:
        """Return `end`, and the leader epoch of the last record; -1: unknown."""
        listed = await self._cluster.offset(log, END)
        return await self._true_end(log, listed.offset), listed.epoch

    async def at(self, log: TopicPartition, timestamp: int) -> int | None:
        """Return the first offset at or after `timestamp` (ms); None: no record.

        Raises `ValueError` for a timestamp that Kafka cannot represent.
        """
        return (await self.located(log, [timestamp]))[timestamp]

    async def located(
        self, log: TopicPartition, timestamps: Iterable[int]
    ) -> dict[int, int | None]:
        """Return `at` for several timestamps; their requests are pipelined."""
        wanted = list(dict.fromkeys(timestamps))
        for timestamp in wanted:
            _check(timestamp)
        found = await asyncio.gather(*[self._cluster.offset(log, each) for each in wanted])
        return dict(zip(wanted, map(_existing, found), strict=True))

    async def extent(self, log: TopicPartition, cutoff: int) -> Extent:
        """Return start and end of a log, and its first offset at or after `cutoff` (ms)."""
        _check(cutoff)
        # The leader answers in this order, and the end must not be before the other two.
        start, young, end = await asyncio.gather(
            *[self._cluster.offset(log, timestamp) for timestamp in (START, cutoff, END)]
        )
        last = await self._true_end(log, end.offset)
        offset = _existing(young)
        return Extent(start.offset, last, last if offset is None else offset, cutoff)

    async def _true_end(self, log: TopicPartition, end: int) -> int:
        """Return the end of a log, also if ListOffsets has returned it too low.

        The embedded broker returns base offset + 1 of the last batch, also for larger batches.
        """
        if end <= 0 or not self._cluster.is_embedded:
            return end
        return max(end, (await self._cluster.peek(log, end - 1)).end)


def _check(timestamp: int) -> None:
    if not 0 <= timestamp <= LATEST_TIMESTAMP:
        raise ValueError(f"timestamp {timestamp} is not between 0 and {LATEST_TIMESTAMP}")


def _existing(found: ListedOffset) -> int | None:
    return None if found.timestamp == NO_TIMESTAMP else found.offset
