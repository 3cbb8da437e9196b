from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.core import runs
from gateway.core.event_id import parse
from gateway.core.gap import GapReason
from gateway.core.observer import Path
from gateway.core.records import OffsetPosition, Record, TimePosition
from gateway.core.stream import State
from gateway.core.tail import Tail
from tests.core.consistency import assert_consistent
from tests.core.stage import BROADCAST_LOG, USER, USER_LOG, Stage, away, stream_of, user_id


def test_a_cursor_in_the_tail_is_live_in_one_step() -> None:
    stage = Stage()
    away(stage)
    client = stage.client()
    stage.connect(client)
    stage.write(2)
    stage.worker.poll()
    client.drop().lost()
    stage.write(3)
    stage.worker.poll()
    stage.worker.observer.paths.clear()
    connection = client.connect(stage.worker)
    assert stream_of(connection).state is State.LIVE, "without a scan, in the first call"
    assert client.received == [1, 2, 3, 4, 5]
    assert connection.writes == 1, "one write with the greeting and all events"
    stage.worker.hub.tick(stage.world.moment)
    assert stage.worker.observer.paths == {Path.TAIL: 3}


def test_a_resume_reads_the_records_of_its_user_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    away(stage)
    client = stage.client()
    stage.reconnect(client)
    stage.worker.poll()
    client.drop().lost()
    stage.write(2 * runs.RUN)
    stage.worker.poll()
    reads = []
    since = Tail.since

    def counted(
        tail: Tail, offset: int, key: bytes | None = None, most: int | None = None
    ) -> Sequence[Record]:
        reads.append(key)
        return since(tail, offset, key, most)

    monkeypatch.setattr(Tail, "since", counted)
    client.connect(stage.worker)
    assert len(client.received) == 2 * runs.RUN
    assert reads == [USER], "no read of the broadcasts, of which none was missed"


def test_events_older_than_the_tail_come_by_scan_and_the_id_moves_to_its_end() -> None:
    stage = Stage(warm_ms=0)
    client = stage.client()
    stage.connect(client)
    stage.write(2)
    stage.write(5, b"c")
    stage.replace_worker()
    client.drop()
    connection = client.connect(stage.worker)
    assert stream_of(connection).state is State.REPLAYING
    stage.worker.settle()
    assert client.received == [1, 2]
    assert stage.worker.observer.paths == {Path.REPLAY: 2}
    (position, _) = [entry.position for entry in parse(client.last_id)]
    assert isinstance(position, OffsetPosition)
    assert position.offset == 7, "the end of the scan, not the last event"


def test_a_cursor_that_contradicts_the_tail_is_reset() -> None:
    stage = Stage()
    stage.write(4)
    away(stage)
    stage.write(4)
    stage.worker.settle()
    client = stage.client()
    client.rogue = True
    client.last_id = user_id(OffsetPosition(6, stage.world.now - 1, True))
    stage.connect(client)
    assert stage.worker.observer.gaps == [GapReason.RESET]
    assert client.received == [8], "from the id's time on"


def test_a_cursor_at_an_unknown_base_is_verified_by_a_scan() -> None:
    """A recreated partition of the same length: only the last record's timestamp differs."""
    stage = Stage(warm_ms=0)
    client = stage.client()
    stage.connect(client)
    stage.write(3)
    stage.worker.poll()
    client.drop()
    stage.world.recreate(USER_LOG)
    stage.write(3)
    stage.replace_worker()
    stage.connect(client)
    assert [gap.reason for gap in client.gaps] == [GapReason.RESET]
    assert client.received == [1, 2, 3, 4, 5, 6]
    stage.judged(client)


def test_a_valid_cursor_at_an_unknown_base_is_live_after_one_scan() -> None:
    stage = Stage(warm_ms=0)
    client = stage.client()
    stage.connect(client)
    stage.write(3)
    stage.worker.poll()
    client.drop()
    stage.replace_worker()
    connection = stage.connect(client)
    assert stream_of(connection).state is State.LIVE
    assert client.gaps == []


@pytest.mark.parametrize("restart", [False, True])
def test_a_cursor_ahead_of_the_tail_is_verified_when_the_tail_reaches_it(*, restart: bool) -> None:
    stage = Stage()
    client, late = stage.client(), stage.client()
    stage.connect(client)
    stage.write(4)
    stage.worker.poll()
    client.drop()
    stage.replace_worker()
    stage.kafka.end, end = 2, stage.kafka.end  # the end as this worker's consumer knows it
    stage.worker.open_logs()
    stage.kafka.end = end
    for each, last_id in ((client, client.last_id), (late, user_id(OffsetPosition(4, 7, True)))):
        each.last_id = last_id
        each.rogue = each is late
        connection = each.connect(stage.worker)
        for feed in list(stage.worker.woken):
            stage.worker.begin_scan(feed)
            while feed in stage.worker.scans:
                stage.worker.step(feed)
        assert_consistent(stage.worker)
        assert stream_of(connection) in stage.feed.parked
    if restart:
        stage.worker.restart(stage.feed)
        stage.worker.activate()
    stage.write()
    stage.worker.settle()
    assert client.received == [1, 2, 3, 4, 5]
    assert client.gaps == []
    assert [gap.reason for gap in late.gaps] == [GapReason.RESET]


@pytest.mark.parametrize("memory", [True, False])
def test_a_transport_that_fills_up_between_runs_keeps_the_position(
    monkeypatch: pytest.MonkeyPatch, *, memory: bool
) -> None:
    monkeypatch.setattr(runs, "PIECE", 60)  # two events
    stage = Stage(warm_ms=0)
    client = stage.client()
    stage.connect(client)
    client.drop().lost()
    if memory:
        away(stage)
    stage.write(9)
    stage.broadcast(3)
    stage.worker.poll()
    if not memory:
        stage.replace_worker()
    rounds = 0
    connection = client.connect(stage.worker, room=300)
    stage.worker.settle()
    while connection.stuck:
        assert stream_of(connection).state is State.STUCK
        assert_consistent(stage.worker)
        connection.drain_once(300)
        stage.worker.settle()
        rounds += 1
    assert rounds >= 3
    connection.drain()
    assert sorted(client.received) == list(range(1, 13))
    assert stream_of(connection).state is State.LIVE


def test_a_transport_that_fills_up_with_the_last_run_leaves_the_stream_behind_at_the_head() -> None:
    stage = Stage()
    client = stage.client()
    connection = stage.connect(client)
    connection.stall(0)
    stage.write(2)
    stage.worker.poll()
    position = stream_of(connection).position(stage.feed)
    assert position == OffsetPosition(2, stage.world.now, True)
    connection.drain()
    assert client.received == [1, 2]


def test_a_stream_is_live_in_one_partition_and_behind_in_another() -> None:
    stage = Stage()
    client = stage.client()
    connection = stage.connect(client)
    stage.worker.restart(stage.feed)
    stage.broadcast(2)
    stage.write(2)
    stage.worker.poll()
    assert client.received == [1, 2]
    assert stream_of(connection).state is State.LAGGING
    assert BROADCAST_LOG in {feed.log for feed in stream_of(connection).feeds}
    stage.worker.settle()
    assert client.received == [1, 2, 3, 4]
    stage.judged(client)


def test_a_position_by_time_is_looked_up() -> None:
    stage = Stage()
    stage.write(5)
    client = stage.client(since=stage.world.now - 15)
    connection = client.connect(stage.worker)
    assert isinstance(stream_of(connection).position(stage.feed), TimePosition)
    stage.worker.settle()
    assert client.received == [4, 5]
