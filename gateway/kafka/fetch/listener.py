"""The owner of the positions that a `FetchReader` reads from, and its counts and logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.supervise import Containment, Failures, Part

if TYPE_CHECKING:
    from gateway.core.records import Record, TopicPartition, UnreadableReason


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
