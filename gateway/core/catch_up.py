"""Bringing a stream up: from the tail in one step, or by way of a scan, until it is live.

`advance` is the only way to live. It is called whenever something may have changed for a stream
that is behind: it has just been opened, its transport has drained, a scan has found something for
it, or the tail has come up to where it is. It goes as far as transport, tails and the budget allow,
and leaves the stream in one of the states of `gateway.core.stream`, or to be advanced again.

The last of what a tail has for the stream and its becoming live are one call, so nothing can be
appended in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core import frame, runs
from gateway.core.gap import Gap, GapReason
from gateway.core.observer import Path
from gateway.core.records import OffsetPosition, TimePosition
from gateway.core.runs import Runs

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.budget import Budget
    from gateway.core.delivery import Outbox
    from gateway.core.interpreter import Interpreter
    from gateway.core.limits import Limits
    from gateway.core.observer import Observer
    from gateway.core.records import Moment
    from gateway.core.runs import Run
    from gateway.core.stream import CatchUpState, PartitionFeed, Stream
    from gateway.core.tail import Tail


class Held:
    """What is to be written to one stream in one go.

    To hand bytes to the kernel costs more than to make them, so most streams are brought up in one
    write. It belongs to one call and one stream, and nothing of it outlives them.
    """

    __slots__ = ("frames", "size")

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.size = 0

    def add(self, data: bytes) -> None:
        """Add the next bytes, which may be none."""
        if data:
            self.frames.append(data)
            self.size += len(data)


class CatchUp:
    """Brings streams up. `wake` is called with each feed that a stream needs a scan of."""

    def __init__(
        self,
        interpreter: Interpreter,
        limits: Limits,
        observer: Observer,
        outbox: Outbox,
        wake: Callable[[PartitionFeed], None],
    ) -> None:
        self._interpreter = interpreter
        self._limits = limits
        self._observer = observer
        self._outbox = outbox
        self._wake = wake
        self._sent: dict[Path, int] = {}
        self.runs = Runs(interpreter)

    def advance(
        self, stream: Stream, moment: Moment, budget: Budget, greeting: bytes = b""
    ) -> bool:
        """Bring the stream up in every log, as far as its transport, the tails and `budget` allow.

        It is written `greeting` before anything else. Returns False where only the budget was in
        the way: there is more to be done at once.
        """
        held = Held()
        held.add(greeting)
        done = self._advance(stream, held, moment, budget)
        self._flush(stream, held, moment, budget)
        return done

    def report(self, moment: Moment) -> None:
        """Report how many events were sent since the last call."""
        sent, self._sent = self._sent, {}
        for path, events in sent.items():
            self._observer.sent(path, [(moment.wall, events)], moment)

    def _advance(self, stream: Stream, held: Held, moment: Moment, budget: Budget) -> bool:
        replayed = False
        done = True
        for feed, behind in list(stream.behind.items()):
            done = self._drain_backlog(stream, feed, behind, held, moment, budget)
            if stream.stuck_since is not None:
                return True
            if not done:
                break
            if behind.then is not None:
                behind.place, behind.then = behind.then, None
                replayed = True
            if not behind.scanning:
                done = self._join(stream, feed, behind, held, moment, budget)
            if stream.stuck_since is not None:
                return True
            if not done:
                break
        if replayed:
            # A scan may have passed hours of others' events: a client that drops now must not
            # come back for them.
            held.add(frame.id_block(stream.id()))
        return done

    def _join(
        self,
        stream: Stream,
        feed: PartitionFeed,
        behind: CatchUpState,
        held: Held,
        moment: Moment,
        budget: Budget,
    ) -> bool:
        """Make the stream live, if the tail reaches back to where it is; ask for a scan if not."""
        tail, place = feed.tail, behind.place
        if tail is None:
            feed.park(stream)
            return True
        if behind.until is None:
            behind.until = tail.head.offset
        if isinstance(place, TimePosition) or place.offset < tail.base.offset:
            behind.limited = False
            self._ask(stream, feed, behind)
            return True
        if place.offset > tail.head.offset:
            if behind.ahead:
                feed.park(stream)
            else:
                self._ask(stream, feed, behind)
            return True
        if not behind.checked:
            fits = tail.fits(place)
            if fits is False:
                behind.reset(feed, place)
            if not fits:
                self._ask(stream, feed, behind)
                return True
            behind.checked = True
        if not behind.limited:
            behind.limited = True
            until = min(behind.until, tail.head.offset)  # which may be of another log
            self._limit(stream, feed, behind, tail, place, until, moment)
            self._drain_backlog(stream, feed, behind, held, moment, budget)  # at most a gap
        return self._catch_up(stream, feed, behind, tail, held, moment, budget)

    def _ask(self, stream: Stream, feed: PartitionFeed, behind: CatchUpState) -> None:
        feed.wait(stream, behind)
        self._wake(feed)

    def _limit(
        self,
        stream: Stream,
        feed: PartitionFeed,
        behind: CatchUpState,
        tail: Tail,
        place: OffsetPosition,
        until: int,
        moment: Moment,
    ) -> None:
        """Apply the limits of a replay to a cursor that memory can serve, up to offset `until`."""
        limits = self._limits
        oldest = tail.first_at_or_after(place.offset, moment.wall - limits.max_age_ms)
        oldest = max(min(oldest, until), until - limits.max_records)
        records = tail.since(place.offset, stream.key)
        if len(records) <= limits.max_events and (not records or records[0].offset >= oldest):
            return
        kept, room = place.offset, limits.max_events
        for record in reversed(records):
            if record.offset >= until:
                continue
            event = self._interpreter.decode(feed, record)
            if event is None or not stream.wants(event):
                continue
            if record.offset < oldest or room == 0:
                since = place.timestamp or None
                kept = max(kept, oldest)
                behind.backlog.append(feed.gap(GapReason.LIMIT, place.offset, kept, since))
                return
            kept = record.offset
            room -= 1

    def _catch_up(
        self,
        stream: Stream,
        feed: PartitionFeed,
        behind: CatchUpState,
        tail: Tail,
        held: Held,
        moment: Moment,
        budget: Budget,
    ) -> bool:
        """Write what the tail has for the stream; live, unless its transport fills up before."""
        assert isinstance(behind.place, OffsetPosition)
        if behind.place.offset >= tail.head.offset:
            feed.join(stream)
            return True
        around = stream.id_around(feed)
        while True:
            assert isinstance(behind.place, OffsetPosition)
            offset = behind.place.offset
            run = self.runs.of_tail(stream, feed, tail, offset, around, behind.untold, budget)
            if run is None:
                break
            behind.place = run.place
            self._hold(stream, Path.TAIL, run, held, moment, budget)
            if stream.stuck_since is not None:
                return True
            if budget.left <= held.size // runs.PIECE:
                return False
        # Live first: a transport that fills up with the last piece falls behind from the head.
        feed.join(stream)
        return True

    def _drain_backlog(
        self,
        stream: Stream,
        feed: PartitionFeed,
        behind: CatchUpState,
        held: Held,
        moment: Moment,
        budget: Budget,
    ) -> bool:
        """Write what a scan has found, as far as the transport takes it and the budget allows."""
        backlog = behind.backlog
        if not backlog:
            return True
        around = stream.id_around(feed)
        while backlog:
            item = backlog[0]
            if isinstance(item, Gap):
                del backlog[0]
                assert item.next is not None
                behind.place = OffsetPosition(item.next, item.since or 0, False)
                behind.untold = None
                held.add(frame.gap(stream.id(), item))
                self._observer.gap(item.reason)
                continue
            run = self.runs.of_found(stream, feed, *item, around, behind.untold, budget)
            if run.end < item.end:
                backlog[0] = item._replace(begin=run.end)
            else:
                del backlog[0]
            behind.place = run.place
            self._hold(stream, Path.REPLAY, run, held, moment, budget)
            if stream.stuck_since is not None:
                return True
            if budget.left <= held.size // runs.PIECE:
                return not backlog
        return True

    def _hold(
        self,
        stream: Stream,
        path: Path,
        run: Run,
        held: Held,
        moment: Moment,
        budget: Budget,
    ) -> None:
        stream.sent += run.events
        self._sent[path] = self._sent.get(path, 0) + run.events
        held.add(run.data)
        if held.size >= runs.PIECE:
            self._flush(stream, held, moment, budget)

    def _flush(self, stream: Stream, held: Held, moment: Moment, budget: Budget) -> None:
        if held.frames:
            frames, size = held.frames, held.size
            held.frames, held.size = [], 0
            budget.written(size)
            self._outbox.write(stream, b"".join(frames), moment)
