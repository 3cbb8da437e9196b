"""Work for thousands of streams is done in bounded steps.

The tests count work: writes to sinks, events framed, streams closed. They measure no time.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.core import runs
from gateway.core.gap import CloseReason
from gateway.core.records import LogKind, TopicPartition
from gateway.core.request import StreamRequest
from gateway.core.stream import Stream
from tests.core.consistency import assert_consistent
from tests.core.crowd import (
    CROWD,
    MISSED,
    MOST_FRAMED,
    MOST_WRITES,
    CountingSink,
    Work,
    assert_bounded,
    at_start,
    crowd,
    events_of,
    parked_crowd,
    steps,
)
from tests.core.stage import BROADCAST_LOG, Stage
from tests.core.world import Extra


def test_many_streams_catch_up_from_the_tail_in_bounded_steps(stage: Stage, work: Work) -> None:
    sinks = parked_crowd(stage, work)
    hub, moment = stage.worker.hub, stage.world.moment
    hub.advance(list(hub.feeds[BROADCAST_LOG].parked), moment)
    hub.feeds[BROADCAST_LOG].parked.clear()
    done = [work.reset(), *steps(stage, work)]
    assert_bounded(done)
    assert all(events_of(sink) == MISSED for sink in sinks)
    assert sum(framed for _, framed, _ in done) == MISSED, (
        "each event is framed once for all streams"
    )
    assert_consistent(stage.worker)


def test_shared_runs_are_bounded_and_rebuilt_after_a_drop(
    stage: Stage, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "SHARED_BYTES", 5000)
    sinks = parked_crowd(stage, work)
    hub, moment = stage.worker.hub, stage.world.moment
    hub.advance(list(hub.feeds[BROADCAST_LOG].parked), moment)
    hub.feeds[BROADCAST_LOG].parked.clear()
    assert_bounded([work.reset(), *steps(stage, work)])
    assert all(events_of(sink) == MISSED for sink in sinks)


def test_a_live_event_is_sent_at_once_while_many_streams_catch_up(stage: Stage, work: Work) -> None:
    parked_crowd(stage, work)
    hub = stage.worker.hub
    sink = CountingSink(work)
    stage.open(sink, StreamRequest(b"live"))
    hub.advance(list(hub.feeds[BROADCAST_LOG].parked), stage.world.moment)
    assert stage.worker.busy, "the other streams are still behind"
    stage.write(1, b"live")
    stage.worker.poll()
    assert events_of(sink) == 1
    assert stage.worker.busy


def test_many_streams_opened_between_two_steps_catch_up_in_later_steps(
    stage: Stage, work: Work
) -> None:
    """One turn of the event loop can accept thousands of requests."""
    stage.broadcast(MISSED)
    stage.worker.settle()
    work.reset()
    sinks = crowd(stage, work, *at_start())
    writes, framed, _ = work.reset()
    assert writes == CROWD, "the first bytes of each stream"
    assert framed <= MISSED, "shared, as in any step"
    assert sum(events_of(sink) for sink in sinks) < CROWD * MISSED / 4
    list(steps(stage, work))
    assert all(events_of(sink) == MISSED for sink in sinks)


def test_broadcasts_are_framed_once_and_written_in_bounded_steps(stage: Stage, work: Work) -> None:
    sinks = crowd(stage, work)
    list(steps(stage, work))
    work.reset()
    stage.broadcast(20)
    stage.worker.poll()
    done = [work.reset(), *steps(stage, work)]
    assert_bounded(done)
    assert sum(framed for _, framed, _ in done) == 20
    assert sum(writes for writes, _, _ in done) == CROWD, "one write for each stream"
    assert all(events_of(sink) == 20 for sink in sinks)


def test_writes_during_a_pending_broadcast_come_after_it(stage: Stage, work: Work) -> None:
    sinks = crowd(stage, work)
    list(steps(stage, work))
    hub = stage.worker.hub
    stage.broadcast(1)
    stage.worker.poll()
    assert hub.delivering
    streams = list(hub.streams)
    waiting = [each for each, sink in zip(streams, sinks, strict=True) if not events_of(sink)]
    stage.world.now += 2000
    hub.probe(waiting[0].key, stage.world.moment)
    hub.close(waiting[1], CloseReason.CLOSED, stage.world.moment)
    hub.stuck(waiting[2], stage.world.moment)
    hub.lost(waiting[3], stage.world.moment)
    texts = [b"".join(sinks[streams.index(stream)].data) for stream in waiting[:4]]
    assert texts[0].rindex(b": heartbeat") > texts[0].index(b"event: import")
    assert texts[1].index(b"stream.close") > texts[1].index(b"event: import")
    assert b"event: import" in texts[2]
    assert b"event: import" not in texts[3]
    list(steps(stage, work))
    assert not hub.delivering
    assert_consistent(stage.worker)


def test_a_large_batch_is_dispatched_in_bounded_steps_and_in_order(
    stage: Stage, work: Work
) -> None:
    sinks = crowd(stage, work)[:1]
    sink = CountingSink(work)
    stage.open(sink, StreamRequest(b"many"))
    list(steps(stage, work))
    work.reset()
    numbers = stage.write(5000, b"many")
    stage.broadcast(300)
    stage.worker.poll()
    done = [work.reset(), *steps(stage, work)]
    assert_bounded(done)
    assert events_of(sink) == 5300
    text = b"".join(sink.data)
    positions = [text.index(b"data: %d\n" % number) for number in numbers if number is not None]
    assert positions == sorted(positions)
    assert events_of(sinks[0]) == 300
    assert_consistent(stage.worker)


def test_heartbeats_of_many_streams_are_sent_in_bounded_steps(stage: Stage, work: Work) -> None:
    sinks = crowd(stage, work)
    list(steps(stage, work))
    work.reset()
    stage.world.now += 30_000
    stage.worker.hub.tick(stage.world.moment)
    done = [work.reset(), *steps(stage, work)]
    assert_bounded(done)
    assert sum(writes for writes, _, _ in done) == CROWD
    assert len({id(sink.data[-1]) for sink in sinks}) <= CROWD


def test_a_stream_with_a_recent_write_gets_no_heartbeat(stage: Stage, work: Work) -> None:
    sinks = crowd(stage, work)
    list(steps(stage, work))
    stage.world.now += 30_000
    stage.worker.hub.tick(stage.world.moment)
    stage.world.now += 10
    stage.broadcast(1)
    stage.worker.poll()
    list(steps(stage, work))
    beats = sum(b": heartbeat" in b"".join(sink.data) for sink in sinks)
    assert 0 < beats < CROWD


def close_all(stage: Stage, streams: list[Stream]) -> None:
    stage.worker.hub.close_all(streams, CloseReason.REVOKED, stage.world.moment)


def reach_slow(stage: Stage, streams: list[Stream]) -> None:
    for stream in streams:
        stage.worker.hub.stuck(stream, stage.world.moment)
    stage.world.now += 500
    stage.worker.hub.tick(stage.world.moment)


@pytest.mark.parametrize(
    ("close", "reason"), [(close_all, CloseReason.REVOKED), (reach_slow, CloseReason.SLOW)]
)
def test_many_streams_are_closed_in_bounded_steps(
    stage: Stage, work: Work, close: Callable[[Stage, list[Stream]], None], reason: CloseReason
) -> None:
    crowd(stage, work)
    list(steps(stage, work))
    work.reset()
    close(stage, list(stage.worker.hub.streams))
    done = [work.reset(), *steps(stage, work)]
    assert_bounded(done)
    assert stage.worker.observer.closes == [reason] * CROWD
    assert not stage.worker.hub.streams


def test_deadlines_of_many_streams_are_applied_in_bounded_steps(stage: Stage, work: Work) -> None:
    hub = stage.worker.hub
    deadlines = [(stage.world.moment.monotonic + 5, CloseReason.MAX_AGE)]
    for _ in range(CROWD):
        stage.open(CountingSink(work), deadlines=deadlines)
    list(steps(stage, work))
    work.reset()
    stage.world.now += 5000
    hub.tick(stage.world.moment)
    assert_bounded([work.reset(), *steps(stage, work)])
    assert not hub.streams


def test_events_of_a_large_group_are_written_in_bounded_steps(work: Work) -> None:
    stage = Stage(extras=(Extra("teams", LogKind.GROUP, 1),))
    stage.worker.open_logs()
    for number in range(CROWD):
        request = StreamRequest(b"a%d" % number, groups={"teams": (b"x@1", b"y@1")})
        stage.open(CountingSink(work), request)
    list(steps(stage, work))
    work.reset()
    log = TopicPartition("teams", 0)
    for number in range(20):
        stage.write(1, b"x@1" if number % 2 else b"y@1", log=log)
    stage.worker.poll()
    done = [work.reset(), *steps(stage, work)]
    assert sum(writes for writes, _, _ in done) == 20 * CROWD
    for writes, framed, _ in done:
        assert writes <= MOST_WRITES
        assert framed <= MOST_FRAMED
