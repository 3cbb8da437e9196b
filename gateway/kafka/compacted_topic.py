"""Follows a compacted topic: reads it whole at the start, then new records.

Such a topic is small, so it is read again from its start in each of these cases: the log lacks the
position, a new leader cannot prove that it has the delivered records, or the topic was recreated or
has gained partitions. The previous result stays in force meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Protocol

import structlog
from aiokafka.errors import KafkaError

from gateway.core.records import Record, TopicPartition
from gateway.kafka.fetch.reader import FetchReader
from gateway.kafka.offsets import END, START, Offsets
from gateway.supervise import Part, Supervisor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.kafka.client.cluster import ClusterClient
    from gateway.kafka.client.metadata import Cluster
    from gateway.kafka.fetch.partition import Reports
    from gateway.kafka.fetch.protocol import Limits

IDLE_SECONDS = 1.0
"""How often an idle reader checks whether the topic must be read again."""

LOOKUP_SECONDS = 15.0
"""Upper bound of an offset lookup with retries; the client's own limits are shorter."""

BATCH = 500
"""Records processed before a yield to the event loop: some 2 ms."""

RETRY_SECONDS = 1.0

_log = structlog.stdlib.get_logger(__name__)


class Follower(Protocol):
    """The owner of the state that a compacted topic stores."""

    topic: str
    part: Part
    """The metric label of unexpected exceptions."""

    def begin(self) -> None:
        """Discard pending records: the topic is read from its start."""

    def add(self, partition: int, records: Sequence[Record]) -> None:
        """Add the next records of a partition, oldest first."""

    async def apply(self) -> None:
        """Apply the pending records; the first call covers the whole topic."""

    def failed(self, reason: str) -> None:
        """Log that the topic cannot be read; the read is retried every second."""


class CompactedTopic:
    """Reads a topic for a follower."""

    def __init__(
        self,
        client: ClusterClient,
        cluster: Cluster,
        follower: Follower,
        reports: Reports,
        limits: Limits | None = None,
    ) -> None:
        self.topic = topic = follower.topic
        self._client = client
        self._offsets = Offsets(client)
        self._tag = cluster.tag(topic)
        self._partitions = cluster.partitions[topic]
        self._follower = follower
        self._logs: list[TopicPartition] = []
        self._supervisor = Supervisor(reports)
        self._restart = False
        self._news = asyncio.Event()
        self._pending: defaultdict[TopicPartition, list[Record]] = defaultdict(list)
        self._reader = FetchReader(client, self, reports, limits=limits)
        self._reader.patient = True

    def compare(self, cluster: Cluster) -> bool:
        """Apply the topic's current metadata; return whether the topic exists."""
        partitions = cluster.partitions.get(self.topic)
        if partitions is None:
            return False
        tag = cluster.tag(self.topic)
        if (tag, partitions) != (self._tag, self._partitions):
            _log.warning("topic has changed and is read again", topic=self.topic)
            self._tag, self._partitions = tag, partitions
            self._read_again()
        return True

    async def refresh(self) -> bool:
        """Fetch the metadata and `compare`. Raises `KafkaError` if no broker answers."""
        return self.compare(await self._client.describe([self.topic]))

    async def run(self) -> None:
        """Read for as long as the task lives.

        After an unexpected exception, also in the follower, the topic is read again with back-off.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._supervisor.keep(self._follower.part, self._fetch))
            group.create_task(self._supervisor.keep(self._follower.part, self._follow))

    async def _fetch(self) -> None:
        try:
            await self._reader.run()
        finally:
            self._read_again()  # the reader has forgotten its positions

    async def _follow(self) -> None:
        while True:
            try:
                await self._read()
            except (KafkaError, TimeoutError) as error:
                self._follower.failed(str(error) or type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)

    async def _read(self) -> None:
        """Read the topic from its start until it must be read again."""
        logs = [TopicPartition(self.topic, number) for number in range(self._partitions)]
        async with asyncio.timeout(LOOKUP_SECONDS):
            found = await asyncio.gather(
                *[self._offsets.lookup(log, place) for log in logs for place in (START, END)]
            )
        self._restart = False
        self._pending.clear()
        topic_id = self._client.topic_id(self.topic) or b""
        for log in self._logs:
            self._reader.stop(log)
        self._logs = logs
        behind = set()
        for log, start, end in zip(logs, found[::2], found[1::2], strict=True):
            self._reader.read(log, start.offset, topic_id)
            if end.offset > start.offset:
                behind.add(log)
        self._follower.begin()
        while not self._restart:
            while self._pending:
                await self._add()
            # Use the end in fetch responses: the embedded broker's ListOffsets returns less.
            behind = {log for log in behind if self._is_behind(log)}
            if not behind:
                await self._follower.apply()
            self._news.clear()
            if not self._pending and not self._restart:
                await self._wait()

    async def _add(self) -> None:
        """Pass pending records to the follower; yield to the event loop between batches."""
        pending, self._pending = self._pending, defaultdict(list)
        for log, records in pending.items():
            for first in range(0, len(records), BATCH):
                self._follower.add(log.partition, records[first : first + BATCH])
                await asyncio.sleep(0)

    async def _wait(self) -> None:
        """Wait for records; a lost wake-up costs `IDLE_SECONDS`."""
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                await self._news.wait()
        except TimeoutError:
            faults = set(self._reader.faults().values())
            if faults:
                self._follower.failed("; ".join(sorted(faults)))

    def _is_behind(self, log: TopicPartition) -> bool:
        end, position = self._reader.end(log), self._reader.position(log)
        return end is None or position is None or position < end

    def _read_again(self) -> None:
        self._restart = True
        self._news.set()

    # Called by the fetch reader.

    async def deliver(self, fresh: dict[TopicPartition, list[Record]]) -> None:
        """Keep records for the follower."""
        for log, records in fresh.items():
            self._pending[log] += records
        self._news.set()

    def lost(self, log: TopicPartition) -> None:
        """Read the topic again: a log does not have the position."""
        del log
        self._read_again()

    def unproven(self, log: TopicPartition) -> None:
        """Read the topic again: a new leader may lack records."""
        del log
        self._read_again()

    def unknown_topic(self, log: TopicPartition) -> None:
        """Do nothing: `compare`, called every few seconds, handles a recreated topic."""

    def stalled(self, log: TopicPartition, reason: str) -> None:
        """Report that reading has stalled."""
        del log
        self._follower.failed(reason)
