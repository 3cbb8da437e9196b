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
    from gateway.kafka.fetch.broker import BrokerReader
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
        self.broker: BrokerReader | None = None
        self.since = clock.now().monotonic
        """When the partition was assigned to its broker."""
        self.retry: asyncio.TimerHandle | None = None
        self.failures = 0
        self.fault = "not read yet"
        self.lost = False
        self.stalled = False
        self.end = NONE
        """Last stable offset: the current end of the readable log."""

    def is_at(self, position: FetchPosition, broker: BrokerReader) -> bool:
        """Return whether it is still read from this position object and broker."""
        return self.position is position and self.broker is broker
