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
from gateway.core.runs import Runs

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


class WriteBuffer:
    """Frames of one stream that are handed to its sink in one write.

    Handing bytes to the kernel costs more than building them, so most streams catch up in one
    write. A buffer belongs to one call of `CatchUp.advance`.
    """

    __slots__ = ("frames", "size")

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.size = 0

    def add(self, data: bytes) -> None:
        """Append bytes; empty bytes are ignored."""
        if data:
            self.frames.append(data)
            self.size += len(data)


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
        """Advance the stream in every partition; return False if the budget is used up.

        Writes `greeting` first, then events as far as the transport, the tails and `budget` allow.
        After False the stream is not finished and can be advanced again at once.
        """
        buffer = WriteBuffer()
        buffer.add(greeting)
        done = self._advance(stream, buffer, moment, budget)
        self._flush(stream, buffer, moment, budget)
        return done

    def report(self, moment: Moment) -> None:
        """Report the number of events sent since the last call; once for each step of the hub."""
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
            # A scan may have skipped hours of other users' events: a client that disconnects now
            # must not resume before them.
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
        """Make the stream live if the tail holds its position; request a scan otherwise."""
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
                state.reset(position, feed.entry(position))
            if not fits:
                self._request_scan(stream, feed, state)
                return True
            state.checked = True
        records = None
        if not state.limited:
            state.limited = True
            until = min(state.until, tail.head.offset)  # the head may be of another incarnation
            records = tail.since_any(position.offset, feed.keys(stream))
            if self._limit(stream, feed, state, tail, records, until, moment):
                records = None
                self._drain_backlog(stream, feed, state, buffer, moment, budget)  # a gap
        return self._catch_up(stream, feed, state, tail, records, buffer, moment, budget)

    def _request_scan(self, stream: Stream, feed: PartitionFeed, state: CatchUpState) -> None:
        feed.wait(stream, state)
        self._wake(feed)

    def _limit(
        self,
        stream: Stream,
        feed: PartitionFeed,
        state: CatchUpState,
        tail: Tail,
        records: Sequence[Record],
        until: int,
        moment: Moment,
    ) -> bool:
        """Apply the replay limits to a cursor inside the tail, up to the offset `until`.

        `records` are those of the stream behind the cursor. Returns whether some are left out: the
        backlog then holds a gap.
        """
        if not records:
            return False
        limits, first, position = self._limits, records[0], state.position
        assert isinstance(position, OffsetPosition)
        least = until - limits.max_records
        since = moment.wall - limits.max_age_ms
        few = len(records) <= limits.max_events
        if few and first.offset >= least and first.timestamp >= since:
            return False
        oldest = tail.first_at_or_after(position.offset, since)
        oldest = max(min(oldest, until), least)
        if few and first.offset >= oldest:
            return False
        kept, room = None, limits.max_events
        for record in reversed(records):
            if record.offset >= until:
                continue
            event = self._interpreter.decode(feed, record)
            if event is None or not stream.wants(event):
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

    def _catch_up(
        self,
        stream: Stream,
        feed: PartitionFeed,
        state: CatchUpState,
        tail: Tail,
        records: Sequence[Record] | None,
        buffer: WriteBuffer,
        moment: Moment,
        budget: Budget,
    ) -> bool:
        """Write the tail's events and make the stream live unless its transport fills.

        `records` are those of the stream behind its position, if they are known.
        """
        assert isinstance(state.position, OffsetPosition)
        if state.position.offset >= tail.head.offset:
            feed.join(stream)
            return True
        around = stream.id_around(feed)
        begin = 0
        while True:
            assert isinstance(state.position, OffsetPosition)
            offset, entry = state.position.offset, state.reset_entry
            run: Run | None
            if feed.shared:
                run = self.runs.of_tail(stream, feed, tail, offset, around, entry, budget)
            else:
                if records is None:
                    records = tail.since(offset, feed.keys(stream)[0])
                run = self.runs.of_user(stream, feed, records, begin, around, entry, budget)
            if run is None:
                break
            begin = run.end
            state.position = run.position
            self._hold(stream, Path.TAIL, run, buffer, moment, budget)
            if stream.stuck_since is not None:
                return True
            if budget.left <= buffer.size // runs.PIECE:
                return False
        # Live before the last write: if it fills the transport, the stream is behind at the head.
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
        """Write events that a scan has found, as far as transport and budget allow."""
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
