"""What the core reports outward: counts for metrics, lines for the log. The edge implements it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.gap import CloseReason, GapReason
    from gateway.core.records import Moment, TopicPartition, UnreadableReason
    from gateway.core.stream import Stream


class Path(StrEnum):
    """How an event came to its stream."""

    LIVE = "live"
    TAIL = "tail"
    REPLAY = "replay"


class Observer(Protocol):
    """Counts and logs what happens in the core. Called on the hot path, once for a batch.

    It must not raise: the edge contains what goes wrong in it.
    """

    def sent(self, path: Path, deliveries: Sequence[tuple[int, int]], moment: Moment) -> None:
        """Count events handed to sinks: for each its timestamp (ms) and number of streams.

        Of events that are not live only the sum of the numbers says something.
        """
        ...

    def gap(self, reason: GapReason) -> None:
        """Count a gap that a stream was told of."""
        ...

    def opened(self, stream: Stream) -> None:
        """Take note of a stream that was opened."""
        ...

    def closed(self, stream: Stream, reason: CloseReason | None, moment: Moment) -> None:
        """Take note of a stream that ends, and still has its places; None: its client went away."""
        ...

    def unreadable(
        self, log: TopicPartition, offset: int, reason: UnreadableReason, detail: str = ""
    ) -> None:
        """Count and log a record that was skipped; `detail` names the field at fault."""
        ...

    def unknown_type(self, event_type: str) -> None:
        """Count an event without a category."""
        ...

    def misplaced(self, log: TopicPartition, offset: int, expected: int) -> None:
        """Count and log a key outside the partition that the partitioner puts it in."""
        ...
