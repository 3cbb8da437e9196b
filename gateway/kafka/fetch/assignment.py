"""Assignment of partitions to brokers: leaders, preferred followers, and pauses after errors."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from gateway import clock
from gateway.kafka.client.backoff import backoff_seconds
from gateway.kafka.fetch.protocol import NONE
from gateway.supervise import Containment, Part

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.records import Record, TopicPartition
    from gateway.kafka.client.cluster import ClusterClient
    from gateway.kafka.fetch.partition import Partition, Reports, Source

FOLLOWER_SECONDS = 30.0
"""How long a follower is read before the leader is asked again: the replica set may change."""


class Listener(Protocol):
    """The owner of the positions. Its methods may call `read` and `stop`."""

    async def deliver(self, fresh: dict[TopicPartition, list[Record]]) -> None:
        """Process the next records of some partitions; the broker's next fetch waits."""

    def lost(self, log: TopicPartition) -> None:
        """Choose a new position: the log lacks the old one, or was truncated before it."""

    def unproven(self, log: TopicPartition) -> None:
        """Verify by other means that a new leader has the delivered records.

        Reading continues unless this method stops or moves the partition.
        """

    def unknown_topic(self, log: TopicPartition) -> None:
        """Check the topic: it may have been deleted or recreated."""

    def stalled(self, log: TopicPartition, reason: str) -> None:
        """Count a stalled partition; called once until the partition is read again."""


class Assignment:
    """The partitions that are read, each assigned to at most one broker.

    `broker` returns the broker with a node id.
    """

    def __init__(
        self,
        cluster: ClusterClient,
        listener: Listener,
        reports: Reports,
        broker: Callable[[int], Source],
    ) -> None:
        self.cluster = cluster
        self.listener = listener
        self.partitions: dict[TopicPartition, Partition] = {}
        self._reports = reports
        self._broker = broker
        self._leaders_only_until = float("-inf")
        """Set when a follower fails: leaders keep naming the follower for some time."""

    def assign_all(self) -> None:
        """Assign each partition again: leaders may have changed."""
        for partition in list(self.partitions.values()):
            with self.contain(Part.PARTITION):
                self.assign(partition)

    def assign(self, partition: Partition) -> None:
        """Assign a partition to its current leader or preferred follower."""
        if partition.lost:
            return
        log, position = partition.log, partition.position
        leader = self.cluster.leader(log)
        if leader is None:
            self.detach(partition)
            partition.fault = "the partition has no leader"
            self.cluster.request_refresh()
            return
        is_new = leader != partition.leader
        if partition.retry is not None and not is_new:
            return  # assigned after its pause
        if is_new or clock.now().monotonic >= partition.follower_until:
            partition.follower = NONE
        node_id = leader.node_id if partition.follower == NONE else partition.follower
        broker = self._broker(node_id)
        if partition.broker is broker and not is_new:
            return
        self.detach(partition)
        unproven = is_new and partition.leader is not None
        partition.leader = leader
        # A new object, so that late responses of the former broker are ignored.
        partition.position = replace(position, leader_epoch=leader.epoch)
        partition.since = clock.now().monotonic
        broker.add(partition, unproven=unproven)

    def detach(self, partition: Partition) -> None:
        """Stop fetching a partition, until `assign`."""
        if partition.retry is not None:
            partition.retry.cancel()
            partition.retry = None
        broker, partition.broker = partition.broker, None
        if broker is not None:
            broker.remove(partition.log)

    def retry(self, partition: Partition, fault: str) -> None:
        """Fetch a partition again after a pause that grows with each failure."""
        if partition.follower != NONE:
            self._leaders_only_until = clock.now().monotonic + FOLLOWER_SECONDS
        partition.follower = NONE
        partition.fault = fault
        self.detach(partition)
        delay = backoff_seconds(partition.failures)
        partition.failures += 1
        loop = asyncio.get_running_loop()
        partition.retry = loop.call_later(delay, self.again, partition)

    def lose(self, partition: Partition, fault: str) -> None:
        """Stop reading a partition at its position; the owner chooses another one."""
        partition.lost = True
        partition.fault = fault
        self.detach(partition)
        self.listener.lost(partition.log)

    def again(self, partition: Partition) -> None:
        """Assign a partition after its pause, if it is still read."""
        partition.retry = None
        if self.partitions.get(partition.log) is partition:
            self.assign(partition)

    def rack(self) -> str:
        """Return the rack of this client; empty while only leaders are read."""
        rack = self.cluster.rack
        return rack if not rack or clock.now().monotonic >= self._leaders_only_until else ""

    def contain(self, part: Part) -> Containment:
        """Return a context manager that ends its block at an exception, and reports it."""
        return Containment(part, self._reports)
