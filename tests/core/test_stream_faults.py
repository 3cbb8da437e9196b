"""An unexpected exception in the work for one stream ends this stream and no other."""

from __future__ import annotations

import pytest

from gateway.core import hub
from gateway.core.catch_up import Advance
from gateway.core.catch_up_state import CatchUpState
from gateway.core.feed import PartitionFeed
from gateway.core.records import OffsetPosition
from gateway.core.replay_plan import Plan
from gateway.core.request import StreamRequest
from gateway.core.scan import Scan
from gateway.core.seeker import Search, Seeker
from gateway.core.stream import Stream
from tests.core.consistency import assert_consistent
from tests.core.sinks import Brittle, Defect, fail, never
from tests.core.stage import USER, Stage, stream_of, tolerant_stage, user_id


@pytest.fixture
def stage() -> Stage:
    return tolerant_stage()


VICTIM = b"c"
"""The user whose stream raises."""


def raise_for_victim(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> list[object]:
    """Make a method raise for the victim; return a list of the calls that raised."""
    original = getattr(owner, name)
    raised: list[object] = []

    def is_victim(value: object) -> bool:
        stream = getattr(value, "stream", value)
        return getattr(stream, "key", None) == VICTIM or owner is CatchUpState

    def replaced(*arguments: object, **named: object) -> object:
        if any(map(is_victim, arguments)):
            raised.append(arguments)
            raise Defect
        return original(*arguments, **named)

    monkeypatch.setattr(owner, name, replaced)
    return raised


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (Scan, "_hand_over"),
        (Scan, "_hand_over at the end"),
        (Plan, "_place"),
        (Plan, "_find"),
        (Plan, "_seek"),
        (Search, "add"),
        (Seeker, "is_ready"),
        (Advance, "_join"),
        (CatchUpState, "reset"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_stream_that_raises_in_a_scan_is_closed_and_the_others_resume(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    stage.write(3)
    stage.worker.settle()
    clients = {user: stage.client(user=user) for user in (USER, VICTIM, b"e")}
    for client in clients.values():
        stage.connect(client).drop(0)
    if name == "reset":  # an id of another incarnation, which the scan finds out
        clients[VICTIM].rogue = True
        clients[VICTIM].last_id = user_id(OffsetPosition(2, 1, True))
    for _ in range(3):
        for user in clients:
            stage.write(1, user)
    stage.replace_worker()
    stage.worker.faults.tolerant = True
    with monkeypatch.context() as patched:
        if name.endswith("at the end"):  # no stream gets its events before the scan is complete
            patched.setattr(Seeker, "is_ready", lambda *_: False)
        raised = raise_for_victim(patched, owner, name.split()[0])
        connections = {user: client.connect(stage.worker) for user, client in clients.items()}
        stage.worker.settle()
        assert raised
    assert_consistent(stage.worker)
    for user, connection in connections.items():
        assert stream_of(connection).closed == (user == VICTIM)
        if user != VICTIM:
            assert len(clients[user].received) == 3
    if name != "reset":
        stage.connect(clients[VICTIM])
        assert len(clients[VICTIM].received) == 3, "the client resumes from its cursor"
    assert_consistent(stage.worker)


def test_a_stream_that_raises_when_its_partition_is_deactivated_is_closed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = {user: stage.client(user=user) for user in (USER, VICTIM)}
    connections = {user: stage.connect(client) for user, client in clients.items()}
    for user in clients:
        stage.write(1, user)
    stage.worker.settle()
    with monkeypatch.context() as patched:
        raised = raise_for_victim(patched, PartitionFeed, "fall_behind")
        stage.worker.restart(stage.feed)
        stage.worker.settle()
        assert raised
    assert stream_of(connections[VICTIM]).closed
    assert not stream_of(connections[USER]).closed
    assert_consistent(stage.worker)
    stage.connect(clients[VICTIM])
    for user, client in clients.items():
        stage.write(1, user)
        stage.worker.settle()
        assert len(client.received) == 2
    assert_consistent(stage.worker)


def test_a_stream_without_a_usable_position_costs_no_other_heartbeat(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    sinks = {user: Brittle(never) for user in (b"b", VICTIM, USER)}
    streams = {user: stage.open(sink, StreamRequest(user)) for user, sink in sinks.items()}
    with monkeypatch.context() as patched:
        assert raise_for_victim(patched, Stream, "id") == []
        stage.world.now += 2000
        stage.worker.hub.tick(stage.world.moment)
        stage.worker.settle()
    beats = {user: b"".join(sink.data).count(b": heartbeat") for user, sink in sinks.items()}
    # Streams with the same cursor share a heartbeat, so the victim may not be asked for its id.
    assert beats[USER] == beats[b"b"] == 1
    assert streams[VICTIM].closed == (beats[VICTIM] == 0)
    assert_consistent(stage.worker)


@pytest.mark.parametrize("name", ["bind", "start_states"])
def test_an_opening_that_raises_leaves_nothing_behind(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name == "bind":
        monkeypatch.setattr(Brittle, name, fail)
        assert stage.open(Brittle(never)).closed
    else:
        monkeypatch.setattr(hub, name, fail)
        with pytest.raises(Defect):
            stage.open(Brittle(never))
    assert not stage.worker.hub.streams
    assert [feed.streams for feed in stage.worker.hub.feeds.values()] == [0, 0]
    assert_consistent(stage.worker)
