"""Work for thousands of streams is done in bounded steps.

The tests count work: writes to sinks, events framed, streams closed. They measure no time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any

import pytest

from gateway.core import budget, frame, runs
from gateway.core.budget import CLOSE, EVENT, HAND_OVER, MOVE, PARK, RECORDS, SHARE, STEP, WRITE
from gateway.core.event_id import CursorEntry
from gateway.core.gap import CloseReason
from gateway.core.limits import Extent
from gateway.core.records import LogKind, OffsetPosition, TopicPartition
from gateway.core.replay_plan import LOCATED
from gateway.core.request import StreamRequest
from gateway.core.scan import CHECKED, Scan
from gateway.core.stream import Stream
from tests.core.consistency import assert_consistent
from tests.core.stage import BROADCAST_LOG, USER, Stage
from tests.core.world import Extra

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


class CountingSink:
    chunked = True

    def __init__(self, work: Work) -> None:
        self.work = work
        self.data: list[bytes] = []

    def bind(self, stream: Stream) -> None:
        pass

    def write(self, data: bytes) -> None:
        self.work.writes += 1
        self.data.append(data)

    def close(self) -> None:
        self.work.closed += 1


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    work = Work()
    original, original_events = frame.event, frame.events

    def event(event_id: bytes, body: bytes, *, chunked: bool) -> bytes:
        work.framed += 1
        return original(event_id, body, chunked=chunked)

    def events(
        before: bytes, after: bytes, entries: Sequence[bytes], bodies: Sequence[bytes]
    ) -> bytes:
        work.framed += len(bodies)
        return original_events(before, after, entries, bodies)

    monkeypatch.setattr(frame, "event", event)
    monkeypatch.setattr(frame, "events", events)
    return work


@pytest.fixture
def stage() -> Stage:
    stage = Stage(max_events=10_000, warm_ms=0, heartbeat=30)
    stage.worker.open_logs()
    return stage


def crowd(stage: Stage, work: Work, *entries: CursorEntry, first: int = 0) -> list[CountingSink]:
    """Open thousands of streams, all with the same id or without an id."""
    hub, moment = stage.worker.hub, stage.world.moment
    sinks = []
    for number in range(first, first + CROWD):
        sink = CountingSink(work)
        request = StreamRequest(b"a%d" % number, cursor=entries)
        feeds = stage.worker.routes.feeds(request, moment)
        hub.open(request, feeds, sink, [], moment)
        sinks.append(sink)
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
    hub, moment = stage.worker.hub, stage.world.moment
    sink = CountingSink(work)
    hub.open(
        StreamRequest(b"live"),
        stage.worker.routes.feeds(StreamRequest(b"live"), moment),
        sink,
        [],
        moment,
    )
    hub.advance(list(hub.feeds[BROADCAST_LOG].parked), moment)
    assert stage.worker.busy, "the other streams are still behind"
    stage.write(1, b"live")
    stage.worker.poll()
    assert events_of(sink) == 1
    assert stage.worker.busy


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
    hub, moment = stage.worker.hub, stage.world.moment
    hub.open(
        StreamRequest(b"many"),
        stage.worker.routes.feeds(StreamRequest(b"many"), moment),
        sink,
        [],
        moment,
    )
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
    hub, moment = stage.worker.hub, stage.world.moment
    feeds = stage.worker.routes.feeds(StreamRequest(b"a"), moment)
    at = moment.monotonic + 5
    for _ in range(CROWD):
        deadlines = [(at, CloseReason.MAX_AGE)]
        hub.open(StreamRequest(b"a"), feeds, CountingSink(work), deadlines, moment)
    list(steps(stage, work))
    work.reset()
    stage.world.now += 5000
    hub.tick(stage.world.moment)
    assert_bounded([work.reset(), *steps(stage, work)])
    assert not hub.streams


def units(share: int) -> int:
    """Return how many things of this cost one step may do, and one piece more."""
    return (STEP + 6 * SHARE) // share + 1


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


def test_events_of_a_large_group_are_written_in_bounded_steps(work: Work) -> None:
    stage = Stage(extras=(Extra("teams", LogKind.GROUP, 1),))
    stage.worker.open_logs()
    hub, moment = stage.worker.hub, stage.world.moment
    for number in range(CROWD):
        request = StreamRequest(b"a%d" % number, groups={"teams": (b"x@1", b"y@1")})
        feeds = stage.worker.routes.feeds(request, moment)
        hub.open(request, feeds, CountingSink(work), [], moment)
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
