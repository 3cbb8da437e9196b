"""Heartbeats: comments with the current event id, for silent streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core import frame
from gateway.core.budget import BYTES, WRITE, Budget

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from gateway.core.delivery import Outbox
    from gateway.core.feed import PartitionFeed
    from gateway.core.records import Moment
    from gateway.core.stream import Stream

CHECK_SECONDS = 0.9
"""Minimum interval between searches for silent streams: 9,000 streams take half a millisecond.

Somewhat less than a second, so that one of two ticks a second apart is never just too early.
"""

EARLY_SECONDS = 0.1
"""How early a heartbeat may be: a tick that comes a moment too soon would make it a second late."""

PROBE_SECONDS = 1.0
"""A stream with a more recent write needs no probe of its client."""


class Heartbeats:
    """Heartbeats of all streams, due after `interval` seconds of silence."""

    def __init__(self, interval: float, streams: Collection[Stream], outbox: Outbox) -> None:
        self._interval = interval
        self._streams = streams
        self._outbox = outbox
        self._next_check = float("-inf")
        """When `check` next has something to do (monotonic seconds)."""
        self._queue: dict[Stream, float] = {}
        """Streams to send a heartbeat, unless they were written to since that time."""

    def __len__(self) -> int:
        return len(self._queue)

    def check(self, now: float) -> bool:
        """Queue silent streams; return whether a check was due.

        Checks at most once a second, and not before the first stream can have been silent for the
        interval.
        """
        if now < self._next_check:
            return False
        self._next_check = now + CHECK_SECONDS
        silent_since = now - self._interval + EARLY_SECONDS
        silent = {s: s.written for s in self._streams if s.written <= silent_since}
        if silent:
            self._queue.update(silent)
        else:  # no stream is silent for the interval before the first one of them
            oldest = min([stream.written for stream in self._streams], default=now)
            self._next_check = max(self._next_check, now + oldest - silent_since)
        return True

    def probe(self, streams: Iterable[Stream], now: float) -> None:
        """Queue those of the streams that were not written to recently."""
        self._queue.update({s: s.written for s in streams if now - s.written >= PROBE_SECONDS})

    def send(self, budget: Budget, moment: Moment) -> Iterator[Stream]:
        """Write queued heartbeats within the budget; yield streams whose sinks raised."""
        queue, outbox, now = self._queue, self._outbox, moment.monotonic
        shared: dict[tuple[PartitionFeed, ...], bytes] = {}
        while queue and budget.left > 0:
            with outbox.contain() as contained:
                while queue and budget.left > 0:
                    stream, written = queue.popitem()
                    if stream.closed or stream.stuck_since is not None or stream.written != written:
                        continue
                    data = None
                    if stream.sink.chunked and not stream.catching_up:
                        data = shared.get(stream.feeds)
                        if data is None:
                            data = shared[stream.feeds] = _framed(stream)
                    if data is None:
                        data = _framed(stream)
                    budget.left -= WRITE + len(data) // BYTES
                    if outbox:  # the id is of a position after the pending bytes
                        outbox.send(stream, moment)
                    stream.written = now
                    stream.sink.write(data)
            if contained.failed:
                yield stream


def _framed(stream: Stream) -> bytes:
    data = frame.heartbeat(stream.id())
    return frame.chunk(data) if stream.sink.chunked else data
