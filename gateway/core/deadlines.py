"""Deadlines: the times at which streams are closed."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.gap import CloseReason
    from gateway.core.stream import Stream

SPARE_DEADLINES = 1000
"""Deadlines of closed streams that may stay queued, in addition to one for each open stream. They
keep their streams in memory, so without a limit clients that reconnect could fill it."""


class Deadlines:
    """The earliest deadline of each stream; entries of closed streams may remain."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Stream, CloseReason]] = []

    def add(
        self, stream: Stream, deadlines: Sequence[tuple[float, CloseReason]], open_streams: int
    ) -> None:
        """Add the earliest of a stream's deadlines (monotonic seconds, close reason).

        Removes entries of closed streams when they outnumber the `open_streams` too far.
        """
        if not deadlines:
            return
        deadline, reason = min(deadlines)
        heappush(self._heap, (deadline, stream.number, stream, reason))
        if len(self._heap) > 2 * open_streams + SPARE_DEADLINES:
            self._heap = [entry for entry in self._heap if not entry[2].closed]
            heapify(self._heap)

    def is_due(self, now: float) -> bool:
        """Return whether the earliest deadline has been reached by `now`."""
        return bool(self._heap) and self._heap[0][0] <= now

    def pop(self) -> tuple[Stream, CloseReason]:
        """Remove and return the earliest deadline's stream and close reason."""
        _, _, stream, reason = heappop(self._heap)
        return stream, reason
