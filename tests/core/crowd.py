"""Thousands of streams on one stage, and a count of the work that a step does for them."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

from gateway.core.budget import CLOSE, EVENT, SHARE, STEP, WRITE
from gateway.core.event_id import CursorEntry
from gateway.core.records import LogKind, OffsetPosition
from gateway.core.request import StreamRequest
from tests.core.sinks import Keep
from tests.core.stage import BROADCAST_LOG, Stage

CROWD = 3000
MISSED = 200

MOST_WRITES = (STEP + 3 * SHARE) // WRITE + 3
MOST_FRAMED = (STEP + 3 * SHARE) // EVENT + 3 * 32
MOST_CLOSED = STEP // CLOSE + 1


class Work:
    """Work done since the last `reset`."""

    def __init__(self) -> None:
        self.writes = self.framed = self.closed = 0

    def reset(self) -> tuple[int, int, int]:
        done = self.writes, self.framed, self.closed
        self.__init__()  # type: ignore[misc]
        return done


class CountingSink(Keep):
    """A sink that counts its writes."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.work = work

    def write(self, data: bytes) -> None:
        super().write(data)
        self.work.writes += 1

    def close(self) -> None:
        self.work.closed += 1


def crowd(stage: Stage, work: Work, *entries: CursorEntry) -> list[CountingSink]:
    """Open thousands of streams, all with the same id or without an id."""
    sinks = [CountingSink(work) for _ in range(CROWD)]
    for number, sink in enumerate(sinks):
        stage.open(sink, StreamRequest(b"a%d" % number, cursor=entries))
    return sinks


def steps(stage: Stage, work: Work) -> Iterator[tuple[int, int, int]]:
    """Run all steps; yield the work of each."""
    while stage.worker.work():
        yield work.reset()


def at_start() -> list[CursorEntry]:
    return [
        CursorEntry(kind, b"tagA", 0, OffsetPosition(0, 0, False))
        for kind in (LogKind.USER, LogKind.BROADCAST)
    ]


def events_of(sink: CountingSink) -> int:
    return b"".join(sink.data).count(b"event: import")


def assert_bounded(done: list[tuple[int, int, int]]) -> None:
    assert len(done) > 3, "all work was done at once"
    for writes, framed, closed in done:
        assert writes <= MOST_WRITES
        assert framed <= MOST_FRAMED
        assert closed <= MOST_CLOSED


def parked_crowd(stage: Stage, work: Work) -> list[CountingSink]:
    """Return many streams that wait for a tail with all missed events."""
    stage.broadcast(MISSED)
    stage.worker.settle()
    feed = stage.worker.hub.feeds[BROADCAST_LOG]
    tail = deepcopy(feed.tail)
    stage.worker.stop_reading(feed)
    sinks = crowd(stage, work, *at_start())
    assert len(feed.parked) == CROWD
    feed.tail = tail
    stage.worker.positions[feed] = MISSED
    work.reset()
    return sinks


def units(share: int) -> int:
    """Return how many things of this cost one step may do, and one piece more."""
    return (STEP + 6 * SHARE) // share + 1
