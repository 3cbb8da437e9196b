from __future__ import annotations

import weakref

from gateway.core.ends import SPARE_DEADLINES
from gateway.core.event_id import parse
from gateway.core.gap import CloseReason
from gateway.core.records import OffsetPosition
from tests.core.sinks import Discard
from tests.core.stage import USER, Stage, stream_of

# Heartbeats and deadlines.


def test_a_silent_stream_gets_its_current_id() -> None:
    stage = Stage(heartbeat=3.0)
    client = stage.client()
    connection = stage.connect(client)
    stage.write(7, b"c")
    stage.worker.poll()
    assert parse(client.last_id)[0].position.timestamp < stage.world.now
    writes = connection.writes
    for _ in range(2):
        stage.world.now += 1000
        stage.worker.hub.tick(stage.world.moment)
    assert connection.writes == writes
    for _ in range(2):
        stage.world.now += 1000
        stage.worker.hub.tick(stage.world.moment)
    assert connection.writes == writes + 1
    (position, _) = [entry.position for entry in parse(client.last_id)]
    assert isinstance(position, OffsetPosition)
    assert position.offset == 7, "a quiet user's cursor advances with the partition"


def test_a_hub_is_quiet_until_something_is_due_or_happens() -> None:
    stage = Stage(heartbeat=60.0, slow=10.0)
    hub, world = stage.worker.hub, stage.world
    client = stage.client()
    connection = stage.connect(client)

    def is_quiet() -> bool:
        stage.worker.busy = False
        return hub.is_quiet(world.moment, 1.0)

    hub.tick(world.moment)
    assert not is_quiet(), "a stream was opened"
    assert is_quiet()
    hub.tick(world.moment)
    assert is_quiet(), "a tick is not an event"
    stage.write()
    stage.worker.poll()
    assert stage.worker.busy, "`busy` was called"
    assert not is_quiet()
    stage.write()
    stage.worker.poll()
    assert not stage.worker.busy, "`busy` is called once"
    assert not is_quiet()
    assert is_quiet()
    stream = stage.client(user=b"b").connect(stage.worker).stream
    assert stream is not None
    assert stage.worker.busy
    hub.close_all([stream], CloseReason.CLOSED, world.moment)
    assert [is_quiet(), is_quiet()] == [False, True]
    hub.stuck(stream_of(connection), world.moment)
    assert not is_quiet(), "a slow stream may have to be closed"
    hub.drained(stream_of(connection), world.moment)
    assert [is_quiet(), is_quiet()] == [False, True]
    world.now += 59_500
    hub.tick(world.moment)
    assert is_quiet(), "a heartbeat may be a second late"


def test_ticks_a_second_apart_are_enough_for_heartbeats() -> None:
    stage = Stage(heartbeat=2.0)
    hub, world = stage.worker.hub, stage.world
    connection = stage.connect(stage.client())
    hub.tick(world.moment)
    for late in (3, 0, 5, 1, 0, 2, 0, 4):  # ms by which a tick comes after its second
        writes = connection.writes
        world.now += 2000 + late
        hub.tick(world.moment)
        assert connection.writes == writes + 1
        world.now -= late


def test_live_streams_share_a_heartbeat_and_others_have_separate_ones() -> None:
    stage = Stage()
    clients = [stage.client() for _ in range(3)]
    for client in clients[:2]:
        stage.connect(client)
    stage.worker.restart(stage.feed)
    stage.connect(clients[2])
    stage.worker.restart(stage.feed)
    stage.world.now += 1000
    stage.worker.hub.tick(stage.world.moment)
    assert len({client.last_id for client in clients}) == 1
    stage.worker.settle()
    stage.write(2)
    stage.worker.settle()
    stage.world.now += 1000
    stage.worker.hub.tick(stage.world.moment)
    for client in clients:
        stage.judged(client)
        assert len(client.received) == 2


def test_a_probe_sends_heartbeats_to_the_streams_of_a_user() -> None:
    stage = Stage()
    mine, other, stalled = stage.client(), stage.client(user=b"b"), stage.client()
    connections = [stage.connect(client) for client in (mine, other, stalled)]
    connections[2].stall(0)
    stage.write()
    stage.worker.settle()
    beats = [connection.writes for connection in connections]
    stage.worker.hub.probe(USER, stage.world.moment)
    assert [connection.writes for connection in connections] == beats
    stage.world.now += 1000
    stage.worker.hub.probe(USER, stage.world.moment)
    beats[0] += 1
    assert [connection.writes for connection in connections] == beats


def test_a_stream_is_closed_at_its_first_deadline() -> None:
    stage = Stage()
    client = stage.client()
    connection = stage.connect(client)
    client.drop().lost()
    hub, now = stage.worker.hub, stage.world.now / 1000
    deadlines = [(now + 20, CloseReason.MAX_AGE), (now + 10, CloseReason.TOKEN_EXPIRED)]
    stream = stage.open(connection, deadlines=deadlines)
    stage.world.now += 9_999
    hub.tick(stage.world.moment)
    assert not stream.closed
    stage.world.now += 1
    hub.tick(stage.world.moment)
    assert stage.worker.observer.closes == [None, CloseReason.TOKEN_EXPIRED]
    stage.world.now += 20_000
    hub.tick(stage.world.moment)
    assert len(stage.worker.observer.closes) == 2


def test_closed_streams_are_not_kept_until_their_deadlines() -> None:
    stage = Stage()
    deadlines = [(stage.world.now / 1000 + 3600, CloseReason.MAX_AGE)]
    sinks = []
    for _ in range(SPARE_DEADLINES + 10):
        sink = Discard()
        stage.worker.hub.lost(stage.open(sink, deadlines=deadlines), stage.world.moment)
        sinks.append(weakref.ref(sink))
    assert sum(reference() is not None for reference in sinks) <= 10
