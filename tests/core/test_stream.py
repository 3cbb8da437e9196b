from __future__ import annotations

import pytest

from gateway.core.catch_up_state import CatchUpState
from gateway.core.event_id import parse
from gateway.core.filter import EventFilter, Selection
from gateway.core.gap import CloseReason
from gateway.core.records import Event, OffsetPosition, TimePosition
from gateway.core.request import StreamRequest
from gateway.core.stream import State, Stream
from tests.core.stage import BROADCAST_LOG, USER, USER_LOG, Stage, stream_of


def event(category: str | None) -> Event:
    return Event("some.type", category, b"")


@pytest.mark.parametrize(
    ("chosen", "category", "wanted"),
    [
        (None, "ai", True),
        (None, None, True),
        (EventFilter([Selection(frozenset({"ai"}))]), "ai", True),
        (EventFilter([Selection(frozenset({"ai"}))]), "import", False),
        (EventFilter([Selection(frozenset({"ai"}))]), None, False),
    ],
)
def test_a_stream_wants_the_events_that_its_filter_accepts(
    chosen: EventFilter | None, category: str | None, *, wanted: bool
) -> None:
    connection = Stage().client().connect(Stage().worker)
    stream = Stream(StreamRequest(USER, chosen), (), connection, 0.0)
    assert stream.wants(event(category)) is wanted


def test_a_stream_goes_through_every_state() -> None:
    stage = Stage()
    client = stage.client()
    stream = stream_of(client.connect(stage.worker, kafka=False))
    states = [stream.state]  # its partitions are not read yet
    stage.worker.activate()
    states.append(stream.state)
    stage.worker.settle()
    states.append(stream.state)
    connection = client.connection
    assert connection is not None
    connection.stall(0)
    stage.write()
    stage.worker.settle()
    states.append(stream.state)
    connection.drain()
    states.append(stream.state)
    stage.worker.hub.close(stream, CloseReason.CLOSED, stage.world.moment)
    states.append(stream.state)
    assert states == [
        *(State.LAGGING, State.REPLAYING, State.LIVE),
        *(State.STUCK, State.LIVE, State.CLOSED),
    ]


def test_an_id_has_the_heads_of_live_partitions_and_the_positions_of_others() -> None:
    stage = Stage()
    stage.write(3)
    stage.broadcast(2)
    stream = stream_of(stage.connect(stage.client()))
    feed, everyone = stage.feed, stage.worker.hub.feeds[BROADCAST_LOG]
    now = stage.world.now
    positions = [entry.position for entry in parse(stream.id().decode())]
    assert positions == [OffsetPosition(3, now, False), OffsetPosition(2, now, False)]

    feed.remove(stream)
    state = stream.catching_up[feed] = CatchUpState(OffsetPosition(1, 7, True), checked=True)
    positions = [entry.position for entry in parse(stream.id().decode())]
    assert positions == [OffsetPosition(1, 7, True), OffsetPosition(2, now, False)]
    assert [stream.position(feed), stream.position(everyone)] == positions

    state.reset_entry = feed.entry(OffsetPosition(77, 8, True))
    assert parse(stream.id().decode())[0].position == OffsetPosition(77, 8, True)
    assert parse(stream.id(feed, feed.entry(TimePosition(9))).decode())[0].position == TimePosition(
        9
    )


def test_the_entry_of_the_head_is_encoded_once_until_the_head_moves() -> None:
    stage = Stage()
    stage.connect(stage.client())
    feed = stage.worker.hub.feeds[USER_LOG]
    entry = feed.head_entry()
    assert feed.head_entry() is entry
    stage.write()
    stage.worker.settle()
    assert feed.head_entry() != entry


def test_a_key_without_live_streams_is_removed() -> None:
    stage = Stage()
    one, other = stage.client(), stage.client()
    stage.connect(one)
    stage.connect(other)
    assert len(stage.feed.live_by_key[USER]) == 2
    for client in (one, other):
        assert client.connection is not None
        connection = client.connection
        connection.drop(0)
        connection.lost()
    assert stage.feed.live_by_key == {}
    assert stage.worker.hub.feeds[BROADCAST_LOG].live_unkeyed == {}


def test_lag_is_the_largest_over_all_partitions() -> None:
    stage = Stage()
    client = stage.client()
    stream = stream_of(client.connect(stage.worker, kafka=False))
    begin = stage.world.now
    assert stream.lag(begin) == 0
    assert stream.lag(begin + 700) == 700, "its partitions are not read: lag counts to now"
    stage.worker.activate()
    stage.worker.settle()
    assert stream.lag(begin + 9000) == 0, "a live stream has no lag"
    connection = client.connection
    assert connection is not None
    connection.stall(0)
    stage.write()
    stage.worker.settle()
    stage.write(3)
    stage.worker.settle()
    position = stream.position(stage.feed)
    assert stream.lag(begin + 9000) == stage.world.now - position.timestamp == 30
    stream.catching_up[stage.feed].position = OffsetPosition(1, 0, False)
    assert stream.lag(begin + 9000) == 0, "the position has no timestamp"
