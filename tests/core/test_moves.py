"""Thousands of streams change their partitions in bounded steps; the tests count work."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.core.budget import MOVE, PARK, STEP
from tests.core.consistency import assert_consistent
from tests.core.crowd import CROWD, Work, assert_bounded, crowd, events_of, steps, units
from tests.core.stage import BROADCAST_LOG, Stage


def test_a_deactivated_partition_parks_its_streams_in_bounded_steps(
    stage: Stage, work: Work
) -> None:
    sinks = crowd(stage, work)
    list(steps(stage, work))
    feed, hub = stage.worker.hub.feeds[BROADCAST_LOG], stage.worker.hub
    ids = {stream: stream.id() for stream in hub.streams}
    stage.worker.restart(feed)
    assert not feed.parked, "deactivation itself moves no stream"
    most, parked, count = 0, 0, 0
    while stage.worker.work():
        most = max(most, len(feed.parked) - parked)
        parked = len(feed.parked)
        count += 1
        assert all(stream.id() == event_id for stream, event_id in list(ids.items())[::100])
        assert_consistent(stage.worker)
    assert count > 2
    assert most <= units(PARK)
    assert parked == CROWD
    stage.broadcast(3)
    stage.worker.settle()
    assert all(events_of(sink) == 3 for sink in sinks)
    assert_consistent(stage.worker)


def test_a_partition_activated_before_all_streams_are_parked_loses_no_event(
    stage: Stage, work: Work
) -> None:
    sinks = crowd(stage, work)
    list(steps(stage, work))
    feed = stage.worker.hub.feeds[BROADCAST_LOG]
    stage.worker.restart(feed)
    stage.worker.work()
    stage.broadcast(2)
    stage.worker.activate()
    stage.broadcast(1)
    stage.worker.settle()
    assert all(events_of(sink) == 3 for sink in sinks)
    assert_consistent(stage.worker)


def test_streams_that_end_or_stall_while_they_are_parked_are_consistent(
    stage: Stage, work: Work
) -> None:
    sinks = crowd(stage, work)
    list(steps(stage, work))
    hub, moment = stage.worker.hub, stage.world.moment
    streams = list(hub.streams)
    stage.worker.restart(hub.feeds[BROADCAST_LOG])
    stage.worker.work()
    hub.lost(streams[-1], moment)
    hub.stuck(streams[-2], moment)
    hub.stuck(streams[0], moment)
    stage.write(1, b"a%d" % (CROWD - 3))
    stage.worker.poll()
    assert_consistent(stage.worker)
    assert events_of(sinks[-3]) == 1, "an event of another partition"
    for stream in (streams[0], streams[-2]):
        hub.drained(stream, moment)
    stage.broadcast(1)
    stage.worker.settle()
    assert all(events_of(sink) == 1 for sink in sinks[:-3])
    assert (events_of(sinks[-1]), events_of(sinks[-2])) == (0, 1)
    assert_consistent(stage.worker)


@pytest.mark.parametrize("recreated", [False, True])
def test_streams_of_a_changed_topic_are_moved_in_bounded_steps(
    stage: Stage, work: Work, monkeypatch: pytest.MonkeyPatch, *, recreated: bool
) -> None:
    crowd(stage, work)
    work.reset()
    routes, moment = stage.worker.routes, stage.world.moment
    hashed: list[bytes] = []

    def count(key: bytes) -> int:
        hashed.append(key)
        return len(hashed)

    for route in routes._routes:  # noqa: SLF001
        monkeypatch.setattr(route, "_key_hash", count)
    topic = routes.topics[0]
    if recreated:
        stage.worker.stop_reading(stage.feed)
        topic = topic._replace(tag=b"tagB")
    routes.update(topic._replace(partitions=3), stage.world.now, moment)
    assert not hashed, "no stream is moved at once"
    done = []
    while routes.moving:
        hashed.clear()
        routes.step(moment)
        done.append((len(hashed), *work.reset()))
    assert len(done) >= CROWD * MOVE // STEP
    for moves, writes, framed, closed in done:
        assert moves <= STEP // MOVE + 1
        assert_bounded([(writes, framed, closed)] * 4)
    assert all(feed.streams for log, feed in stage.worker.hub.feeds.items() if log.partition)


def test_settling_streams_are_moved_in_bounded_steps(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(partitions=1, settle=10)
    stage.worker.open_logs()
    crowd(stage, work)
    stage.world.grow(2)
    stage.worker.settle()
    assert max(len(stream.feeds) for stream in stage.worker.hub.streams) == 3
    stage.world.now += 10_000
    routes, moment = stage.worker.routes, stage.world.moment
    moved: list[object] = []
    original = stage.worker.hub.follow

    def follow(*given: Any) -> None:
        moved.append(given)
        original(*given)

    monkeypatch.setattr(stage.worker.hub, "follow", follow)
    routes.settle(moment)
    steps_done = 0
    while routes.moving:
        moved.clear()
        routes.step(moment)
        assert len(moved) <= STEP // MOVE + 1
        steps_done += 1
    assert steps_done > 3
    assert {len(stream.feeds) for stream in stage.worker.hub.streams} == {2}
