"""The state of a partition of a `FetchReader`, and the reports of its skipped records."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from gateway import clock
from gateway.kafka.fetch.protocol import NONE
from gateway.supervise import Containment, Failures, Part

if TYPE_CHECKING:
    import asyncio

    from gateway.core.records import TopicPartition, UnreadableReason
    from gateway.kafka.client.metadata import Leader
    from gateway.kafka.fetch.protocol import FetchPosition


class Reports(Failures, Protocol):
    """Counts and logs."""

    def unreadable(self, log: TopicPartition, offset: int, reason: UnreadableReason) -> None:
        """Count and log a record that is skipped."""


def report_unreadable(
    reports: Reports, log: TopicPartition, offset: int, reason: UnreadableReason
) -> None:
    """Count and log a record that is skipped; does not raise."""
    with Containment(Part.METRICS, reports):
        reports.unreadable(log, offset, reason)


class Source(Protocol):
    """A broker from which partitions are fetched."""

    node_id: int
    wanted: dict[TopicPartition, FetchPosition]
    touched: dict[TopicPartition, None]
    """Partitions whose entry in `wanted` has changed since the last request, in order."""

    fault: str
    """Why the last fetch failed; empty after a success."""
    answered: float
    """When the last response arrived."""

    def add(self, partition: Partition, *, unproven: bool) -> None:
        """Fetch a partition from its position on; `unproven`: this broker is its new leader."""

    def remove(self, log: TopicPartition) -> None:
        """Stop fetching a partition."""

    def covers(self, partition: Partition) -> bool:
        """Return whether the last response was about a partition; it may omit an unchanged one."""

    def reconnect(self) -> None:
        """Open a new connection: the present one does not answer."""


class Partition:
    """A partition being read; the reader and its brokers change it.

    A new `position` object invalidates fetches in flight.
    """

    def __init__(self, log: TopicPartition, position: FetchPosition, reports: Reports) -> None:
        self.log = log
        self.position = position
        self.skipped = partial(report_unreadable, reports, log)
        self.leader: Leader | None = None
        self.follower = NONE
        self.follower_until = 0.0
        self.broker: Source | None = None
        self.since = clock.now().monotonic
        """When the partition was assigned to its broker."""
        self.retry: asyncio.TimerHandle | None = None
        self.failures = 0
        self.fault = "not read yet"
        self.lost = False
        self.stalled = False
        self.end = NONE
        """Last stable offset: the current end of the readable log."""

    def is_at(self, position: FetchPosition, broker: Source) -> bool:
        """Return whether it is still read from this position object and broker."""
        return self.position is position and self.broker is broker
