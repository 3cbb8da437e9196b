"""Streams whose transports are full."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.gap import CloseReason

if TYPE_CHECKING:
    from gateway.core.admission import OpenStreams
    from gateway.core.delivery import Outbox
    from gateway.core.ends import StreamEnds
    from gateway.core.records import Moment
    from gateway.core.stream import Stream


class StuckStreams:
    """Keeps streams behind while their transports are full, for at most `slow` seconds."""

    def __init__(
        self, open_streams: OpenStreams, outbox: Outbox, ends: StreamEnds, slow: float
    ) -> None:
        self._stuck = open_streams.stuck
        self._outbox = outbox
        self._ends = ends
        self._slow = slow

    def __bool__(self) -> bool:
        """Whether any stream is stuck."""
        return bool(self._stuck)

    def add(self, stream: Stream, moment: Moment) -> None:
        """Make a stream behind in all its partitions; no effect on one that is stuck."""
        if stream.closed or stream.stuck_since is not None:
            return
        stream.stuck_since = moment.monotonic
        self._stuck[stream] = None
        for feed in stream.feeds:
            if feed not in stream.catching_up:
                feed.fall_behind(stream)
        with self._outbox.contain() as contained:
            self._outbox.send(stream, moment)  # its cursor is after these bytes
        if contained.failed:
            self._ends.end(stream, None, moment)

    def remove(self, stream: Stream) -> bool:
        """Return whether the stream was stuck, and is not any more."""
        if stream.closed or stream.stuck_since is None:
            return False
        stream.stuck_since = None
        del self._stuck[stream]
        return True

    def close_slow(self, now: float) -> None:
        """Queue the end of streams that have been stuck for too long."""
        for stream in self._stuck:  # the longest stuck first
            if stream.stuck_since is None or now - stream.stuck_since < self._slow:
                break
            self._ends.queue((stream,), CloseReason.SLOW)
