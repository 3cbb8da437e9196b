"""Following a compacted topic: read whole at the start, then as it grows.

It is small, so whatever looks strange is answered by reading it again from its start: a leader that
is another one, a position that the log does not have, a topic that was made anew or has gained
partitions. What came of it before stays meanwhile.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from gateway.kafka.consumer import Consumer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.kafka.metadata import Cluster
    from gateway.kafka.screen import Unreadable

IDLE_MS = 1000
"""How long to wait for records before it is looked whether the topic has to be read again."""

BATCH = 500
"""Records between two looks at the loop: some 2 ms."""

RETRY_SECONDS = 1.0

_log = structlog.stdlib.get_logger(__name__)


class Follower(Protocol):
    """Who goes by the records of a compacted topic."""

    def begin(self) -> None:
        """Drop what was added and not taken: the topic is read from its start."""
        ...

    def add(self, partition: int, records: Sequence[Any]) -> None:
        """Add the next records of a partition, oldest first."""
        ...

    async def take(self) -> None:
        """Go by what was added. At first that is all that the topic had, afterwards what is new."""
        ...

    def failed(self, reason: str) -> None:
        """Take note that the topic cannot be read; that is tried again every second."""
        ...


class CompactedTopic:
    """Reads a topic for a follower. `settings` are those of aiokafka's consumer."""

    def __init__(
        self,
        options: dict[str, Any],
        cluster: Cluster,
        topic: str,
        follower: Follower,
        unreadable: Unreadable,
        **settings: Any,
    ) -> None:
        self.topic = topic
        self._tag = cluster.tag(topic)
        self._partitions = cluster.partitions[topic]
        self._follower = follower
        self._again = asyncio.Event()
        self._consumer = Consumer(
            options,
            auto_offset_reset="none",
            isolation_level="read_committed",
            unreadable=unreadable,
            **settings,
        )
        self._consumer.patient = True
        self._consumer.watch_leaders(lambda _: self._again.set())

    def compare(self, cluster: Cluster) -> bool:
        """Go by what the brokers say of the topic now; return whether it is there."""
        partitions = cluster.partitions.get(self.topic)
        if partitions is None:
            return False
        tag = cluster.tag(self.topic)
        if (tag, partitions) != (self._tag, self._partitions):
            _log.warning("a topic has changed, and is read again", topic=self.topic)
            self._tag, self._partitions = tag, partitions
            self._again.set()
        return True

    async def look(self) -> bool:
        """Ask the brokers about the topic, and `compare`. Raises `KafkaError`: none answers."""
        return self.compare(await self._consumer.describe([self.topic]))

    async def run(self) -> None:
        """Read for as long as the task lives; once only."""
        started = False
        try:
            while True:
                try:
                    if not started:
                        await self._consumer.start()
                        started = True
                    await self._read()
                except KafkaError as error:
                    self._follower.failed(str(error) or type(error).__name__)
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            await self._consumer.stop()

    async def _read(self) -> None:
        """Read the topic from its start, and on, until it has to be read again."""
        self._again.clear()
        consumer = self._consumer
        partitions = [TopicPartition(self.topic, number) for number in range(self._partitions)]
        starts = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        consumer.assign(partitions)
        for partition, start in starts.items():
            consumer.seek(partition, start)
        self._follower.begin()
        behind = {partition for partition in partitions if ends[partition] > starts[partition]}
        while not self._again.is_set():
            if not behind:
                await self._follower.take()
            batches = await consumer.getmany(timeout_ms=IDLE_MS, max_records=BATCH)
            for partition, records in batches.items():
                self._follower.add(partition.partition, records)
            for partition in list(behind):
                # Not the end asked for above: the embedded broker's is before its last records.
                end = consumer.last_stable_offset(partition)
                if end is not None and await consumer.position(partition) >= end:
                    behind.discard(partition)
            await asyncio.sleep(0)
