"""Streams that are behind and can be advanced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.budget import Budget

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.core.catch_up import CatchUp
    from gateway.core.ends import StreamEnds
    from gateway.core.feed import PartitionFeed
    from gateway.core.records import Moment
    from gateway.core.stream import Stream


class ReadyStreams:
    """Streams to advance, in order of arrival."""

    def __init__(self, catch_up: CatchUp, ends: StreamEnds) -> None:
        self._catch_up = catch_up
        self._ends = ends
        self._contain = ends.contain
        self._streams: dict[Stream, None] = {}
        self._spare = Budget()
        """Budget for streams that open or drain before the next step."""

    def __len__(self) -> int:
        return len(self._streams)

    def queue(self, streams: Iterable[Stream]) -> None:
        """Let `step` advance these streams."""
        self._streams.update(dict.fromkeys(streams))

    def unpark(self, feed: PartitionFeed) -> None:
        """Queue the streams that have waited for the tail of a partition."""
        parked, feed.parked = feed.parked, {}
        self.queue(parked)

    def step(self, budget: Budget, moment: Moment) -> None:
        """Advance queued streams within the budget."""
        while self._streams and budget.left > 0:
            stream = next(iter(self._streams))
            del self._streams[stream]
            self._advance(stream, moment, budget)

    def report(self, moment: Moment) -> None:
        """Report the events sent, at the end of a step, and renew the spare budget."""
        self._catch_up.report(moment)
        self._spare = Budget()

    def advance_at_once(self, stream: Stream, moment: Moment, greeting: bytes = b"") -> None:
        """Advance a stream now, within a budget shared by all calls between two steps.

        Of a thousand streams opened in one turn of the event loop, each gets its first bytes; the
        rest of the work is queued.
        """
        self._spare.guarantee(1)
        self._advance(stream, moment, self._spare, greeting)

    def _advance(
        self, stream: Stream, moment: Moment, budget: Budget, greeting: bytes = b""
    ) -> None:
        """Advance a stream; queue it if the budget is used up before it is done."""
        if stream.closed or stream.stuck_since is not None:
            return
        budget.left -= 1
        done = True
        with self._contain() as contained:
            done = self._catch_up.advance(stream, moment, budget, greeting)
        if contained.failed:
            self._ends.end(stream, None, moment)
        elif not done:
            self._streams[stream] = None
