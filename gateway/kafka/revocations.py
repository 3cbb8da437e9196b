"""Reading the compacted topic that says what is revoked: whole at the start, then as it grows.

It is small, so whatever looks strange is answered by reading it again from its start: a leader that
is another one, a position that the log does not have, a topic that was made anew or has gained
partitions. What was read before stays meanwhile, and afterwards, unless it is lifted.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from gateway import clock
from gateway.core.digest import Digest, Written
from gateway.core.event import UnreadableReason
from gateway.core.frame import CloseReason
from gateway.core.log import Log
from gateway.core.revocation import read_change
from gateway.kafka.consumer import Consumer

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.hub import Hub
    from gateway.core.revocations import Revocations
    from gateway.kafka.metadata import Cluster
    from gateway.kafka.screen import Unreadable

IDLE_MS = 1000
"""How long to wait for records before it is looked whether the topic has to be read again."""

BATCH = 500
"""Records between two looks at the loop: some 2 ms."""

GATHER_SECONDS = 0.05
"""Between two batches that changed something, since all streams are looked at after each: whoever
revokes thousands one by one makes 20 looks a second of it, 2 % of a core with 20,000 streams."""

RETRY_SECONDS = 1.0

_log = structlog.stdlib.get_logger(__name__)


class RevocationReader:
    """Moves revocations from their topic into the table, and ends the streams that they end.

    `life` is how long one lasts that does not say (ms). `whole` is called once all that the topic
    had was read, and may be called again.
    """

    def __init__(
        self,
        options: dict[str, Any],
        cluster: Cluster,
        topic: str,
        life: int,
        hub: Hub,
        revocations: Revocations,
        unreadable: Unreadable,
        whole: Callable[[], None],
    ) -> None:
        self.topic = topic
        self._options = options
        self._tag = cluster.tag(topic)
        self._partitions = cluster.partitions[topic]
        self._life = life
        self._hub = hub
        self._revocations = revocations
        self._unreadable = unreadable
        self._whole = whole
        self._again = asyncio.Event()

    def compare(self, cluster: Cluster) -> bool:
        """Go by what the brokers say of the topic now; return whether it is there."""
        partitions = cluster.partitions.get(self.topic)
        if partitions is None:
            return False
        tag = cluster.tag(self.topic)
        if (tag, partitions) != (self._tag, self._partitions):
            _log.warning("revocations are read again: their topic has changed", topic=self.topic)
            self._tag, self._partitions = tag, partitions
            self._again.set()
        return True

    async def run(self) -> None:
        """Read for as long as the task lives."""
        consumer = Consumer(
            self._options,
            auto_offset_reset="none",
            isolation_level="read_committed",
            unreadable=self._unreadable,
        )
        consumer.patient = True
        consumer.watch_leaders(lambda _: self._again.set())
        started = False
        try:
            while True:
                try:
                    if not started:
                        await consumer.start()
                        started = True
                    await self._read(consumer)
                except KafkaError as error:
                    reason = str(error) or type(error).__name__
                    _log.warning("revocations cannot be read, and are tried again", error=reason)
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            await consumer.stop()

    async def _read(self, consumer: Consumer) -> None:
        """Read the topic from its start, and on, until it has to be read again.

        What it has at first is taken when all of it was read.
        """
        self._again.clear()
        partitions = [TopicPartition(self.topic, number) for number in range(self._partitions)]
        starts = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        consumer.assign(partitions)
        for partition, start in starts.items():
            consumer.seek(partition, start)
        digest = Digest()
        behind = {partition for partition in partitions if ends[partition] > starts[partition]}
        while not self._again.is_set():
            if not behind:
                await self._take(digest.drain())
                self._whole()
            batches = await consumer.getmany(timeout_ms=IDLE_MS, max_records=BATCH)
            for partition, records in batches.items():
                self._add(partition.partition, records, digest)
            for partition in list(behind):
                # Not the end asked for above: the embedded broker's is before its last records.
                end = consumer.last_stable_offset(partition)
                if end is not None and await consumer.position(partition) >= end:
                    behind.discard(partition)
            await asyncio.sleep(0)

    def _add(self, partition: int, records: list[Any], digest: Digest) -> None:
        now = clock.now().wall
        for record in records:
            change = read_change(record.key, record.value, record.timestamp, self._life)
            if isinstance(change, UnreadableReason):
                self._unreadable(Log(self.topic, partition), record.offset, change)
            else:
                written = Written(change, partition, record.timestamp)
                digest.add(written, self._revocations, now)

    async def _take(self, every: list[Written]) -> None:
        """Go by these changes, and let the loop go now and then."""
        for first in range(0, len(every), BATCH):
            some = every[first : first + BATCH]
            for written in some:
                self._revocations.take(written.change, written.timestamp)
            users = {written.user for written in some if written.user is not None}
            moment = clock.now()
            ended = self._revocations.covered(self._hub.streams, users, moment.wall)
            for stream in ended:
                self._hub.close(stream, CloseReason.REVOKED, moment)
            if ended:
                _log.info("streams ended that were revoked", streams=len(ended))
            await asyncio.sleep(0 if len(some) == BATCH else GATHER_SECONDS)
