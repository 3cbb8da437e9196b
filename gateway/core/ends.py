"""The end of streams: by the gateway, a deadline, a failed sink, or their clients."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from gateway.core import frame
from gateway.core.budget import CLOSE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.core.admission import OpenStreams
    from gateway.core.budget import Budget
    from gateway.core.delivery import Outbox
    from gateway.core.feed import PartitionFeed
    from gateway.core.gap import CloseReason
    from gateway.core.observer import Observer
    from gateway.core.records import Moment
    from gateway.core.scan import Scan
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


class StreamEnds:
    """Ends streams and removes them; queues of other parts skip streams that are closed."""

    def __init__(self, open_streams: OpenStreams, outbox: Outbox, observer: Observer) -> None:
        self._open_streams = open_streams
        self._outbox = outbox
        self._observer = observer
        self.contain, self.interpreter = outbox.contain, outbox.interpreter
        self.scans: dict[PartitionFeed, Scan] = {}
        """Scans, at most one for each partition: running, or with streams to hand over."""
        self.deadlines = Deadlines()
        self._closing: dict[Stream, CloseReason] = {}
        """Streams to close."""

    def __bool__(self) -> bool:
        """Whether streams are queued."""
        return bool(self._closing)

    def queue(self, streams: Iterable[Stream], reason: CloseReason) -> None:
        """Let `step` close these streams; a stream that is queued keeps its reason."""
        for stream in streams:
            self._closing.setdefault(stream, reason)

    def step(self, budget: Budget, moment: Moment) -> None:
        """Close queued streams and those past their deadlines, within the budget."""
        while budget.left > 0:
            if self._closing:
                stream = next(iter(self._closing))
                reason = self._closing.pop(stream)
            elif self.deadlines.is_due(moment.monotonic):
                stream, reason = self.deadlines.pop()
            else:
                return
            self.close(stream, reason, moment)
            budget.left -= CLOSE

    def close(
        self, stream: Stream, reason: CloseReason, moment: Moment, retry_ms: int | None = None
    ) -> None:
        """Write `stream.close` and end the stream; no effect on a closed stream."""
        if stream.closed:
            return
        with self.contain():
            self._outbox.write(stream, frame.close(reason, retry_ms), moment)
        self.end(stream, reason, moment)

    def lost(self, stream: Stream, moment: Moment) -> None:
        """Remove a stream whose client has disconnected."""
        if not stream.closed:
            self._observer.closed(stream, None, moment)
            self._remove(stream)

    def failed(self, moment: Moment) -> None:
        """End the streams whose sinks have raised."""
        while self._outbox.failed:
            self.end(self._outbox.failed.pop(), None, moment)

    def end(self, stream: Stream, reason: CloseReason | None, moment: Moment) -> None:
        """End a stream after its close event; without a reason if its sink has failed."""
        if not stream.closed:
            with self.contain():
                stream.sink.close()
            self._observer.closed(stream, reason, moment)
            self._remove(stream)

    def remove_from(self, stream: Stream, feed: PartitionFeed) -> None:
        """Remove the stream from one of its partitions and from a running scan."""
        feed.remove(stream)
        scan = self.scans.get(feed)
        if scan is not None and stream in scan.seekers:
            scan.remove(stream)

    def _remove(self, stream: Stream) -> None:
        stream.closed = True
        self._outbox.drop(stream)
        self._closing.pop(stream, None)
        for feed in stream.feeds:
            self.remove_from(stream, feed)
        self._open_streams.remove(stream)
