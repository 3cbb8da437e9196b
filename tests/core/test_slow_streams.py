from __future__ import annotations

from gateway.core.gap import CloseReason
from gateway.core.stream import State
from tests.core.consistency import assert_consistent
from tests.core.stage import Stage, stream_of

# Slow clients.


def test_a_stuck_stream_gets_no_writes_and_resumes_at_its_position() -> None:
    stage = Stage()
    client, other = stage.client(), stage.client()
    connection = stage.connect(client)
    stage.connect(other)
    connection.stall(0)
    stage.write()
    stage.worker.poll()
    writes = connection.writes
    stage.write(5)
    stage.broadcast(5)
    stage.worker.poll()
    stage.world.now += 200
    stage.worker.hub.tick(stage.world.moment)
    assert connection.writes == writes, "no heartbeat is sent"
    assert len(other.received) == 11
    connection.drain()
    assert sorted(client.received) == sorted(other.received)
    assert stream_of(connection).state is State.LIVE
    stage.judged(client)


def test_a_stream_that_stays_stuck_is_closed_without_loss() -> None:
    stage = Stage()
    client = stage.client()
    connection = stage.connect(client)
    connection.stall(0)
    stage.write()
    stage.worker.poll()
    stage.world.now += 499
    stage.worker.hub.tick(stage.world.moment)
    assert not stream_of(connection).closed
    stage.world.now += 1
    stage.worker.hub.tick(stage.world.moment)
    assert stage.worker.observer.closes == [CloseReason.SLOW]
    stage.write(3)
    stage.connect(client)
    stage.judged(client)
    assert len(client.received) == 4


def test_reports_about_a_closed_stream_are_ignored() -> None:
    stage = Stage()
    client = stage.client()
    connection = stage.connect(client)
    stream, hub, moment = stream_of(connection), stage.worker.hub, stage.world.moment
    hub.drained(stream, moment)  # not stuck
    hub.stuck(stream, moment)
    hub.stuck(stream, moment._replace(monotonic=moment.monotonic + 1))
    assert stream.stuck_since == moment.monotonic, "stuck since the first report"
    hub.close(stream, CloseReason.REVOKED, moment)
    hub.close(stream, CloseReason.CLOSED, moment)
    hub.lost(stream, moment)
    hub.stuck(stream, moment)
    hub.drained(stream, moment)
    hub.advance([stream], moment)
    assert stage.worker.observer.closes == [CloseReason.REVOKED]
    assert_consistent(stage.worker)


def test_a_stuck_stream_whose_partition_is_read_again_waits_for_its_transport() -> None:
    stage = Stage()
    client = stage.client()
    connection = stage.connect(client)
    stage.worker.restart(stage.feed)
    connection.stall(0)
    stage.broadcast()
    stage.worker.poll()
    assert connection.stuck
    stage.write(2)
    stage.worker.settle()
    assert client.received == []
    connection.drain()
    stage.worker.settle()
    assert sorted(client.received) == [1, 2, 3]
