"""Reads partitions from all brokers, with one task and one connection per broker.

`read` starts reading a partition at an offset, `stop` ends it; the listener gets each record once,
in order. Brokers do not wait for each other. A partition with an error is fetched again after a
pause and does not delay other partitions.

| from a broker | what the reader does |
| --- | --- |
| records | delivers them and fetches what follows |
| preferred replica (KIP-392) | reads there for `FOLLOWER_SECONDS`, then asks the leader again |
| any error or silence of a follower | reads from leaders only for `FOLLOWER_SECONDS` |
| offset out of range, or a diverging epoch (KIP-320) | stops the partition, calls `lost` |
| a new leader that cannot compare epochs | calls `unproven` before it fetches from that leader |
| unknown topic id | calls `unknown_topic`, retries |
| not leader, fenced or unknown epoch, no leader | refreshes the metadata, retries |
| another error: no permission, disk failure | retries; `faults` reports the error |
| no response in time, a broken connection, a malformed response | reconnects |
| records that raise an unexpected exception | fetches that partition again, with back-off |
| another unexpected exception | calls `lost` for the broker's partitions and reconnects |

Every wait times out after `CHECK_SECONDS`, and the watchdog checks each partition as often: if no
response has covered a partition for `STALL_SECONDS`, the watchdog logs and counts the stall and
reconnects to the broker.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway import clock
from gateway.kafka.fetch.assignment import Assignment
from gateway.kafka.fetch.broker import CHECK_SECONDS, BrokerReader
from gateway.kafka.fetch.partition import Partition
from gateway.kafka.fetch.protocol import NONE, FetchPosition, Limits
from gateway.supervise import Part

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.records import TopicPartition
    from gateway.kafka.client.cluster import ClusterClient
    from gateway.kafka.fetch.assignment import Listener
    from gateway.kafka.fetch.partition import Reports

HOLD_MS = 100
"""How long a broker holds a fetch without new records while partitions may be added."""

PATIENT_HOLD_MS = 500
"""The same while all partitions are read. Each empty response costs some 0.2 ms."""

STALL_SECONDS = 10.0
"""A partition without a response for this long is stalled: twice the maximum time of a fetch."""

POSTPONED_SECONDS = 0.1
"""Pause of a partition whose next records cannot be used yet."""


class FetchReader:
    """Reads partitions for a listener while `run` runs.

    `delay` bounds pacing, in seconds. `patient`: no partition will be added soon.
    """

    def __init__(
        self,
        cluster: ClusterClient,
        listener: Listener,
        reports: Reports,
        *,
        delay: float = 0.0,
        limits: Limits | None = None,
    ) -> None:
        self.patient = False
        self.delay = delay
        self.listener = listener
        self._cluster = cluster
        self._reports = reports
        self._limits = (limits or Limits(HOLD_MS), limits or Limits(PATIENT_HOLD_MS))
        self.assignment = Assignment(cluster, listener, reports, self._broker)
        self._partitions = self.assignment.partitions
        self._brokers: dict[int, BrokerReader] = {}
        self._group: asyncio.TaskGroup | None = None

    # Called by the owner.

    def read(
        self, log: TopicPartition, offset: int, topic_id: bytes = b"", last_epoch: int = NONE
    ) -> None:
        """Read a partition from an offset; moves a partition that is already being read.

        With a `topic_id`, a recreated topic is reported and not read. `last_epoch` is the leader
        epoch of the record before the offset, if known: brokers compare it with their log.
        """
        former = self._partitions.get(log)
        self.stop(log)
        position = FetchPosition(offset, last_epoch=last_epoch, topic_id=topic_id)
        partition = Partition(log, position, self._reports)
        if former is not None:  # so that `assign` detects a change of leader
            partition.leader = former.leader
        self._partitions[log] = partition
        self.assignment.assign(partition)

    def seek(self, log: TopicPartition, offset: int) -> None:
        """Move a partition that is being read to another offset."""
        self.read(log, offset, self._partitions[log].position.topic_id)

    def postpone(self, log: TopicPartition, offset: int, fault: str) -> None:
        """Fetch a partition again from `offset`, after `POSTPONED_SECONDS`.

        For records that the listener cannot use yet; other partitions are read meanwhile.
        """
        partition = self._partitions.get(log)
        if partition is not None:
            self.assignment.detach(partition)
            partition.position = replace(partition.position, offset=offset)
            partition.fault = fault
            loop = asyncio.get_running_loop()
            partition.retry = loop.call_later(POSTPONED_SECONDS, self.assignment.again, partition)

    def stop(self, log: TopicPartition) -> None:
        """Stop reading a partition, if it is read; records in flight are discarded."""
        partition = self._partitions.pop(log, None)
        if partition is not None:
            self.assignment.detach(partition)

    def position(self, log: TopicPartition) -> int | None:
        """Return the offset that is fetched next; None: the partition is not read."""
        partition = self._partitions.get(log)
        return None if partition is None else partition.position.offset

    def end(self, log: TopicPartition) -> int | None:
        """Return the last stable offset in the last response; None before the first one."""
        partition = self._partitions.get(log)
        return None if partition is None or partition.end == NONE else partition.end

    def lag(self, log: TopicPartition) -> int:
        """Return an upper bound of the records between the position and the log end."""
        partition = self._partitions.get(log)
        return 0 if partition is None else max(0, partition.end - partition.position.offset)

    def faults(self) -> Mapping[TopicPartition, str]:
        """Return the reason for each partition that is currently not read."""
        return {log: each.fault for log, each in self._partitions.items() if each.fault}

    async def run(self) -> None:
        """Read for as long as the task lives."""
        forget = self._cluster.on_change(self.assignment.assign_all)
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for broker in self._brokers.values():
                    group.create_task(broker.run())
                while True:
                    self.assignment.assign_all()
                    with self.assignment.contain(Part.FETCH):
                        self._watch()
                    await clock.sleep_to_tick(CHECK_SECONDS)
        finally:
            forget()
            self._group = None
            for partition in self._partitions.values():
                self.assignment.detach(partition)
            for broker in self._brokers.values():
                broker.disconnect()
            self._partitions.clear()
            self._brokers.clear()

    # Brokers.

    def _broker(self, node_id: int) -> BrokerReader:
        broker = self._brokers.get(node_id)
        if broker is None:
            broker = self._brokers[node_id] = BrokerReader(node_id, self.assignment, self)
            if self._group is not None:
                self._group.create_task(broker.run())
        return broker

    def _watch(self) -> None:
        """Report partitions that no response covers, and reconnect to their brokers."""
        now = clock.now().monotonic
        for partition in list(self._partitions.values()):
            broker, since = partition.broker, partition.since
            if broker is not None and broker.covers(partition):
                since = max(since, broker.answered)
            if now - since < STALL_SECONDS:
                continue
            fault = partition.fault
            if broker is not None:
                fault = broker.fault or f"broker {broker.node_id} does not answer"
                broker.reconnect()
            partition.since = now
            partition.fault = fault
            if not partition.stalled:
                partition.stalled = True
                self.listener.stalled(partition.log, fault)

    @property
    def limits(self) -> Limits:
        """The limits of the next request."""
        return self._limits[self.patient]
