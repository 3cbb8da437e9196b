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


class WriteBuffer:
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
        buffer = WriteBuffer()
        buffer.add(greeting)
        done = self._advance(stream, buffer, moment, budget)
        self._flush(stream, buffer, moment, budget)
        return done

    def report(self, moment: Moment) -> None:
        """Report how many events were sent since the last call."""
        sent, self._sent = self._sent, {}
        for path, events in sent.items():
            self._observer.sent(path, [(moment.wall, events)], moment)

    def _advance(self, stream: Stream, buffer: WriteBuffer, moment: Moment, budget: Budget) -> bool:
        replayed = False
        done = True
        for feed, state in list(stream.catching_up.items()):
            done = self._drain_backlog(stream, feed, state, buffer, moment, budget)
            if stream.stuck_since is not None:
                return True
            if not done:
                break
            if state.next_position is not None:
                state.position, state.next_position = state.next_position, None
                replayed = True
            if not state.scanning:
                done = self._join(stream, feed, state, buffer, moment, budget)
            if stream.stuck_since is not None:
                return True
            if not done:
                break
        if replayed:
            # A scan may have passed hours of others' events: a client that drops now must not
            # come back for them.
            buffer.add(frame.id_block(stream.id()))
        return done

    def _join(
        self,
        stream: Stream,
        feed: PartitionFeed,
        state: CatchUpState,
        buffer: WriteBuffer,
        moment: Moment,
        budget: Budget,
    ) -> bool:
        """Make the stream live, if the tail reaches back to where it is; ask for a scan if not."""
        tail, position = feed.tail, state.position
        if tail is None:
            feed.park(stream)
            return True
        if state.until is None:
            state.until = tail.head.offset
        if isinstance(position, TimePosition) or position.offset < tail.base.offset:
            state.limited = False
            self._request_scan(stream, feed, state)
            return True
        if position.offset > tail.head.offset:
            if state.ahead:
                feed.park(stream)
            else:
                self._request_scan(stream, feed, state)
            return True
        if not state.checked:
            fits = tail.fits(position)
            if fits is False:
                state.reset(feed, position)
            if not fits:
                self._request_scan(stream, feed, state)
                return True
            state.checked = True
        if not state.limited:
            state.limited = True
            until = min(state.until, tail.head.offset)  # which may be of another log
            self._limit(stream, feed, state, tail, position, until, moment)
            self._drain_backlog(stream, feed, state, buffer, moment, budget)  # at most a gap
        return self._catch_up(stream, feed, state, tail, buffer, moment, budget)

    def _request_scan(self, stream: Stream, feed: PartitionFeed, state: CatchUpState) -> None:
        feed.wait(stream, state)
        self._wake(feed)

    def _limit(
        self,
        stream: Stream,
        feed: PartitionFeed,
        state: CatchUpState,
        tail: Tail,
        position: OffsetPosition,
        until: int,
        moment: Moment,
    ) -> None:
        """Apply the limits of a replay to a cursor that memory can serve, up to offset `until`."""
        limits = self._limits
        oldest = tail.first_at_or_after(position.offset, moment.wall - limits.max_age_ms)
        oldest = max(min(oldest, until), until - limits.max_records)
        records = tail.since(position.offset, stream.key)
        if len(records) <= limits.max_events and (not records or records[0].offset >= oldest):
            return
        kept, room = position.offset, limits.max_events
        for record in reversed(records):
            if record.offset >= until:
                continue
            event = self._interpreter.decode(feed, record)
            if event is None or not stream.wants(event):
                continue
            if record.offset < oldest or room == 0:
                since = position.timestamp or None
                kept = max(kept, oldest)
                state.backlog.append(feed.gap(GapReason.LIMIT, position.offset, kept, since))
                return
            kept = record.offset
            room -= 1

    def _catch_up(
        self,
        stream: Stream,
        feed: PartitionFeed,
        state: CatchUpState,
        tail: Tail,
        buffer: WriteBuffer,
        moment: Moment,
        budget: Budget,
    ) -> bool:
        """Write what the tail has for the stream; live, unless its transport fills up before."""
        assert isinstance(state.position, OffsetPosition)
        if state.position.offset >= tail.head.offset:
            feed.join(stream)
            return True
        around = stream.id_around(feed)
        while True:
            assert isinstance(state.position, OffsetPosition)
            offset = state.position.offset
            run = self.runs.of_tail(stream, feed, tail, offset, around, state.reset_entry, budget)
            if run is None:
                break
            state.position = run.position
            self._hold(stream, Path.TAIL, run, buffer, moment, budget)
            if stream.stuck_since is not None:
                return True
            if budget.left <= buffer.size // runs.PIECE:
                return False
        # Live first: a transport that fills up with the last piece falls behind from the head.
        feed.join(stream)
        return True

    def _drain_backlog(
        self,
        stream: Stream,
        feed: PartitionFeed,
        state: CatchUpState,
        buffer: WriteBuffer,
        moment: Moment,
        budget: Budget,
    ) -> bool:
        """Write what a scan has found, as far as the transport takes it and the budget allows."""
        backlog = state.backlog
        if not backlog:
            return True
        around = stream.id_around(feed)
        while backlog:
            item = backlog[0]
            if isinstance(item, Gap):
                del backlog[0]
                assert item.next is not None
                state.position = OffsetPosition(item.next, item.since or 0, False)
                state.reset_entry = None
                buffer.add(frame.gap(stream.id(), item))
                self._observer.gap(item.reason)
                continue
            run = self.runs.of_found(stream, feed, *item, around, state.reset_entry, budget)
            if run.end < item.end:
                backlog[0] = item._replace(begin=run.end)
            else:
                del backlog[0]
            state.position = run.position
            self._hold(stream, Path.REPLAY, run, buffer, moment, budget)
            if stream.stuck_since is not None:
                return True
            if budget.left <= buffer.size // runs.PIECE:
                return not backlog
        return True

    def _hold(
        self,
        stream: Stream,
        path: Path,
        run: Run,
        buffer: WriteBuffer,
        moment: Moment,
        budget: Budget,
    ) -> None:
        stream.sent += run.events
        self._sent[path] = self._sent.get(path, 0) + run.events
        buffer.add(run.data)
        if buffer.size >= runs.PIECE:
            self._flush(stream, buffer, moment, budget)

    def _flush(self, stream: Stream, buffer: WriteBuffer, moment: Moment, budget: Budget) -> None:
        if buffer.frames:
            frames, size = buffer.frames, buffer.size
            buffer.frames, buffer.size = [], 0
            budget.written(size)
            self._outbox.write(stream, b"".join(frames), moment)
