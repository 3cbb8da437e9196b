"""Catch-up: move a stream to live, from the tail in one step or by way of a scan.

`CatchUp.advance` is the only way to live. The hub calls it whenever the state of a stream that is
behind may have changed: the stream was opened, its transport drained, a scan found events for it,
or the tail reached its position. A call goes as far as transport, tails and budget allow. The
stream is then in one of the states of `gateway.core.stream`, or has to be advanced again.

One call writes the last events of a tail and makes the stream live, so that no record can be
appended in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core import frame, runs
from gateway.core.gap import Gap, GapReason
from gateway.core.observer import Path
from gateway.core.records import OffsetPosition, TimePosition
from gateway.core.runs import Framing, Runs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.core.budget import Budget
    from gateway.core.catch_up_state import CatchUpState
    from gateway.core.delivery import Outbox
    from gateway.core.feed import PartitionFeed
    from gateway.core.interpreter import Interpreter
    from gateway.core.limits import Limits
    from gateway.core.observer import Observer
    from gateway.core.records import Moment, Record
    from gateway.core.runs import Run
    from gateway.core.stream import Stream
    from gateway.core.tail import Tail


class CatchUp:
    """Moves streams towards live; calls `wake` with each feed that needs a scan."""

    def __init__(
        self,
        interpreter: Interpreter,
        limits: Limits,
        observer: Observer,
        outbox: Outbox,
        wake: Callable[[PartitionFeed], None],
    ) -> None:
        self.interpreter = interpreter
        self.limits = limits
        self.observer = observer
        self.outbox = outbox
        self.wake = wake
        self.sent: dict[Path, int] = {}
        """Events sent since the last report."""
        self.runs = Runs(interpreter)

    def advance(
        self, stream: Stream, moment: Moment, budget: Budget, greeting: bytes = b""
    ) -> bool:
        """Advance the stream in every partition; return False if the budget is used up.

        Writes `greeting` first, then events as far as the transport, the tails and `budget` allow.
        After False the stream is not finished and can be advanced again at once.
        """
        advance = Advance(self, stream, moment, budget, greeting)
        done = advance.run()
        advance.flush()
        return done

    def report(self, moment: Moment) -> None:
        """Report the number of events sent since the last call; once for each step of the hub."""
        sent, self.sent = self.sent, {}
        for path, events in sent.items():
            self.observer.sent(path, [(moment.wall, events)], moment)


class Advance:
    """One call of `CatchUp.advance`, with the frames that go to the stream's sink in one write.

    Handing bytes to the kernel costs more than building them, so most streams catch up in one
    write.
    """

    __slots__ = ("_budget", "_catch_up", "_frames", "_moment", "_size", "stream")

    def __init__(
        self, catch_up: CatchUp, stream: Stream, moment: Moment, budget: Budget, greeting: bytes
    ) -> None:
        self._catch_up = catch_up
        self.stream = stream
        self._moment = moment
        self._budget = budget
        self._frames = [greeting] if greeting else []
        self._size = len(greeting)

    def add(self, data: bytes) -> None:
        """Collect bytes for the next write; empty bytes are ignored."""
        if data:
            self._frames.append(data)
            self._size += len(data)

    def flush(self) -> None:
        """Write the collected bytes."""
        if self._frames:
            frames, size = self._frames, self._size
            self._frames, self._size = [], 0
            self._budget.written(size)
            self._catch_up.outbox.write(self.stream, b"".join(frames), self._moment)

    def run(self) -> bool:
        """Advance the stream in every partition; return False if the budget is used up."""
        stream = self.stream
        replayed = False
        done = True
        for feed, state in list(stream.catching_up.items()):
            done = not state.backlog or self._drain_backlog(feed, state)
            if stream.stuck_since is not None:
                return True
            if not done:
                break
            if state.next_position is not None:
                state.position, state.next_position = state.next_position, None
                replayed = True
            if not state.scanning:
                done = self._join(feed, state)
            if stream.stuck_since is not None:
                return True
            if not done:
                break
        if replayed:
            # A scan may have skipped hours of other users' events: a client that disconnects now
            # must not resume before them.
            self.add(frame.id_block(stream.id()))
        return done

    def _join(self, feed: PartitionFeed, state: CatchUpState) -> bool:
        """Make the stream live if the tail holds its position; request a scan otherwise."""
        tail, position = feed.tail, state.position
        if tail is None:
            feed.park(self.stream)
            return True
        if state.until is None:
            state.until = tail.head.offset
        if isinstance(position, TimePosition) or position.offset < tail.base.offset:
            state.limited = False
            self._request_scan(feed, state)
            return True
        if position.offset > tail.head.offset:
            if state.ahead:
                feed.park(self.stream)
            else:
                self._request_scan(feed, state)
            return True
        if not state.checked:
            fits = tail.fits(position)
            if fits is False:
                state.reset(position, feed.entry(position))
            if not fits:
                self._request_scan(feed, state)
                return True
            state.checked = True
        records = None
        if not state.limited:
            state.limited = True
            until = min(state.until, tail.head.offset)  # the head may be of another incarnation
            records = tail.since_any(position.offset, feed.keys(self.stream))
            if self._limit(feed, state, records, until):
                records = None
                self._drain_backlog(feed, state)  # a gap
        return self._catch_up_from(tail, feed, state, records)

    def _request_scan(self, feed: PartitionFeed, state: CatchUpState) -> None:
        feed.wait(self.stream, state)
        self._catch_up.wake(feed)

    def _limit(
        self, feed: PartitionFeed, state: CatchUpState, records: Sequence[Record], until: int
    ) -> bool:
        """Apply the replay limits to a cursor inside the tail, up to the offset `until`.

        `records` are those of the stream behind the cursor. Returns whether some are left out: the
        backlog then holds a gap.
        """
        if not records:
            return False
        limits, first, position = self._catch_up.limits, records[0], state.position
        assert isinstance(position, OffsetPosition)
        assert feed.tail is not None
        least = until - limits.max_records
        since = self._moment.wall - limits.max_age_ms
        few = len(records) <= limits.max_events
        if few and first.offset >= least and first.timestamp >= since:
            return False
        oldest = feed.tail.first_at_or_after(position.offset, since)
        oldest = max(min(oldest, until), least)
        if few and first.offset >= oldest:
            return False
        kept, room = None, limits.max_events
        for record in reversed(records):
            if record.offset >= until:
                continue
            event = self._catch_up.interpreter.decode(feed, record)
            if event is None or not self.stream.wants(event):
                continue
            # As in a scan, the maximum age does not exclude events without a timestamp.
            least_of_it = least if record.timestamp < 0 else oldest
            if record.offset < least_of_it or room == 0:
                kept = oldest if kept is None else kept
                known = position.timestamp or None
                state.backlog.append(feed.gap(GapReason.LIMIT, position.offset, kept, known))
                return True
            kept = record.offset
            room -= 1
        return False

    def _catch_up_from(
        self,
        tail: Tail,
        feed: PartitionFeed,
        state: CatchUpState,
        records: Sequence[Record] | None,
    ) -> bool:
        """Write the tail's events and make the stream live unless its transport fills.

        `records` are those of the stream behind its position, if they are known.
        """
        assert isinstance(state.position, OffsetPosition)
        stream, budget, shared = self.stream, self._budget, self._catch_up.runs
        if state.position.offset >= tail.head.offset:
            feed.join(stream)
            return True
        framing = Framing(stream, feed, stream.id_around(feed), state.reset_entry)
        begin = 0
        while True:
            assert isinstance(state.position, OffsetPosition)
            offset = state.position.offset
            run: Run | None
            if feed.shared:
                run = shared.of_tail(framing, tail, offset, budget)
            else:
                if records is None:
                    records = tail.since(offset, feed.keys(stream)[0])
                end = min(begin + runs.RUN, len(records))
                run = shared.build(framing, records, begin, end, budget) if begin < end else None
            if run is None:
                break
            begin = run.end
            state.position = run.position
            self._hold(Path.TAIL, run)
            if stream.stuck_since is not None:
                return True
            if budget.left <= self._size // runs.PIECE:
                return False
        # Live before the last write: if it fills the transport, the stream is behind at the head.
        feed.join(stream)
        return True

    def _drain_backlog(self, feed: PartitionFeed, state: CatchUpState) -> bool:
        """Write events that a scan has found, as far as transport and budget allow."""
        stream, backlog = self.stream, state.backlog
        around = stream.id_around(feed)
        while backlog:
            item = backlog[0]
            if isinstance(item, Gap):
                del backlog[0]
                assert item.next is not None
                state.position = OffsetPosition(item.next, item.since or 0, False)
                state.reset_entry = None
                self.add(frame.gap(stream.id(), item))
                self._catch_up.observer.gap(item.reason)
                continue
            framing = Framing(stream, feed, around, state.reset_entry)
            run = self._catch_up.runs.of_found(framing, item, self._budget)
            if run.end < item.end:
                backlog[0] = item._replace(begin=run.end)
            else:
                del backlog[0]
            state.position = run.position
            self._hold(Path.REPLAY, run)
            if stream.stuck_since is not None:
                return True
            if self._budget.left <= self._size // runs.PIECE:
                return not backlog
        return True

    def _hold(self, path: Path, run: Run) -> None:
        """Collect the frames of a run, and write them if they are many bytes."""
        sent = self._catch_up.sent
        self.stream.sent += run.events
        sent[path] = sent.get(path, 0) + run.events
        self.add(run.data)
        if self._size >= runs.PIECE:
            self.flush()
