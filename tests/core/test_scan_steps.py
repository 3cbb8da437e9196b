"""A scan for thousands of streams is done in bounded steps; the tests count work."""

from __future__ import annotations

import pytest

from gateway.core import budget
from gateway.core.budget import HAND_OVER, RECORDS, SHARE
from gateway.core.limits import Extent
from gateway.core.replay_plan import LOCATED
from gateway.core.scan import CHECKED, Scan
from tests.core.consistency import assert_consistent
from tests.core.crowd import (
    CROWD,
    MISSED,
    MOST_WRITES,
    Work,
    at_start,
    crowd,
    events_of,
    steps,
    units,
)
from tests.core.stage import BROADCAST_LOG, USER, Stage


def test_many_streams_catch_up_by_scan_in_bounded_steps(stage: Stage, work: Work) -> None:
    stage.broadcast(MISSED)
    stage.replace_worker()
    stage.worker.open_logs()
    sinks = crowd(stage, work, *at_start())
    work.reset()
    feed = stage.worker.hub.feeds[BROADCAST_LOG]
    for scanned in list(stage.worker.woken):
        stage.worker.begin_scan(scanned)
        while scanned in stage.worker.scans:
            stage.worker.step(scanned)
    done = [work.reset(), *steps(stage, work)]
    assert all(events_of(sink) == MISSED for sink in sinks)
    assert sum(framed for _, framed, _ in done) <= 2 * MISSED
    assert max(writes for writes, _, _ in done[1:]) <= MOST_WRITES
    assert len(done) > 3
    assert len(feed.live_unkeyed) == CROWD
    assert_consistent(stage.worker)


def crowd_in_a_scan(stage: Stage, work: Work) -> Scan:
    stage.broadcast(MISSED)
    stage.replace_worker()
    stage.worker.open_logs()
    crowd(stage, work, *at_start())
    list(steps(stage, work))
    feed = stage.worker.hub.feeds[BROADCAST_LOG]
    scan = stage.worker.hub.begin_scan(feed)
    scan.begin(Extent(0, MISSED, 0, 0))
    return scan


def test_the_streams_of_a_scan_are_placed_and_handed_over_in_bounded_steps(
    stage: Stage, work: Work
) -> None:
    scan = crowd_in_a_scan(stage, work)
    hub, feed = stage.worker.hub, stage.worker.hub.feeds[BROADCAST_LOG]
    calls = 0
    while not scan.located:
        before = len(scan._plan.unlocated)  # noqa: SLF001
        assert scan.locate({}) == []
        assert before - len(scan._plan.unlocated) <= LOCATED  # noqa: SLF001
        calls += 1
    assert calls == CROWD / LOCATED
    records = [written.record() for written in stage.world.logs[BROADCAST_LOG].records]
    scan.feed(records[:-1], MISSED - 1)
    assert len(scan.harvest()) <= CHECKED
    scan.feed(records[-1:], MISSED)
    hub.end_scan(feed, stage.world.moment)
    left, most, count = len(scan.seekers), 0, 0
    while stage.worker.work():
        most, left, count = max(most, left - len(scan.seekers)), len(scan.seekers), count + 1
        assert_consistent(stage.worker)
    assert count > 3
    assert most <= units(HAND_OVER)
    assert feed not in hub.scans
    assert scan.summary.events == CROWD * MISSED


def test_a_tail_replaced_while_a_scan_hands_over_is_scanned_again(stage: Stage, work: Work) -> None:
    scan = crowd_in_a_scan(stage, work)
    hub, feed = stage.worker.hub, stage.worker.hub.feeds[BROADCAST_LOG]
    while not scan.located:
        scan.locate({})
    scan.feed([each.record() for each in stage.world.logs[BROADCAST_LOG].records], MISSED)
    hub.end_scan(feed, stage.world.moment)
    assert scan.seekers
    assert stage.worker.busy
    stage.worker.restart(feed)
    stage.broadcast(1)
    stage.worker.settle()
    sinks = [stream.sink for stream in hub.streams]
    assert all(events_of(sink) == MISSED + 1 for sink in sinks)  # type: ignore[arg-type]
    assert_consistent(stage.worker)


def test_a_tail_is_warmed_and_freed_in_bounded_steps(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "STEP", SHARE)
    stage = Stage(warm_ms=60_000, tail_bytes=100_000_000)
    stage.write(6000)
    hub, feed = stage.worker.hub, stage.feed
    stage.worker.open_logs()
    scan = hub.begin_scan(feed)
    scan.begin(Extent(0, 6000, 0, 0))
    scan.warm(0, 1 << 30)
    scan.locate({})
    scan.feed([each.record() for each in stage.kafka.records], 6000)
    hub.end_scan(feed, stage.world.moment)
    tail = feed.tail
    assert tail is not None
    before, count = 0, 0
    while stage.worker.work():
        assert len(tail) - before <= units(1) * RECORDS
        assert tail.base.offset == 6000 - len(tail)
        before, count = len(tail), count + 1
    assert (len(tail), tail.base.offset) == (6000, 0)
    assert [record.offset for record in tail.since(0, USER)] == list(range(6000))
    assert count > 2
    stage.worker.stop_reading(feed)
    count = 0
    while stage.worker.work():
        assert before - len(tail) <= units(1) * RECORDS
        before, count = len(tail), count + 1
    assert not len(tail)
    assert count > 2


def test_streams_that_end_during_a_scan_are_neither_placed_nor_checked(
    stage: Stage, work: Work
) -> None:
    scan = crowd_in_a_scan(stage, work)
    hub, moment = stage.worker.hub, stage.world.moment
    streams = list(scan.seekers)
    hub.lost(streams[0], moment)
    while not scan.located:
        scan.locate({})
    hub.lost(streams[1], moment)
    scan.feed([each.record() for each in stage.world.logs[BROADCAST_LOG].records], MISSED)
    assert streams[2] in scan.harvest()
    assert not {streams[0], streams[1]} & scan.seekers.keys()


def test_warming_ends_when_the_tail_has_evicted_records() -> None:
    stage = Stage(warm_ms=60_000)
    stage.write(1000)
    stage.worker.open_logs()
    hub, feed = stage.worker.hub, stage.feed
    scan = hub.begin_scan(feed)
    scan.begin(Extent(0, 1000, 0, 0))
    scan.warm(0, 1 << 30)
    scan.locate({})
    scan.feed([each.record() for each in stage.kafka.records], 1000)
    assert scan.warm_tail(100) == 100
    assert feed.tail is not None
    feed.tail.evict(1)
    assert scan.warm_tail(100) == 0
    assert scan.finished
