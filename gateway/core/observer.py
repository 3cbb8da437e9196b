"""Observer: the interface through which the core reports to metrics and logs."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.gap import CloseReason, GapReason
    from gateway.core.records import Moment, TopicPartition, UnreadableReason
    from gateway.core.stream import Stream


class Path(StrEnum):
    """The path by which an event reached its stream."""

    LIVE = "live"
    TAIL = "tail"
    REPLAY = "replay"


class Summary(NamedTuple):
    """Summary of a scan: its partition, the numbers of its streams, and its counts."""

    log: TopicPartition
    streams: tuple[int, ...]
    records: int
    events: int
    """Events handed over to streams."""


class Observer(Protocol):
    """Counts and logs what the core does; called on the hot path, once for a batch.

    Must not raise: the edge contains its own failures.
    """

    def sent(self, path: Path, deliveries: Sequence[tuple[int, int]], moment: Moment) -> None:
        """Count events written to sinks: timestamp (ms) and number of streams of each.

        For other paths than live, only the sum of the numbers is meaningful.
        """

    def gap(self, reason: GapReason) -> None:
        """Count a gap that was sent to a stream."""

    def opened(self, stream: Stream) -> None:
        """Record that a stream was opened."""

    def closed(self, stream: Stream, reason: CloseReason | None, moment: Moment) -> None:
        """Record that a stream ends, before it is removed; reason None: client gone."""

    def unreadable(
        self, log: TopicPartition, offset: int, reason: UnreadableReason, detail: str = ""
    ) -> None:
        """Count and log an unreadable record; `detail` names the invalid field."""

    def unknown_type(self, event_type: str) -> None:
        """Count an event without a category."""

    def misplaced(self, log: TopicPartition, offset: int, expected: int) -> None:
        """Count and log a key outside the partition that the partitioner selects."""
