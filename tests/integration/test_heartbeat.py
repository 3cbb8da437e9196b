"""Heartbeats and their ids: a quiet user on a busy partition."""

from __future__ import annotations

from gateway.core.event_id import parse
from gateway.core.records import LogKind, OffsetPosition
from tests.client import StreamClient
from tests.integration.conftest import SetUp


def user_offset(event_id: str) -> int:
    """Return the next offset in the user's log that the id says; 0 where it says a time."""
    (place,) = (mark.position for mark in parse(event_id) if mark.kind is LogKind.USER)
    return place.offset if isinstance(place, OffsetPosition) else 0


async def test_a_silent_stream_beats_with_its_id(set_up: SetUp, user: str) -> None:
    stage = await set_up(heartbeat_seconds=0.3)
    client = await stage.open(user)

    await client.wait_for(lambda client: client.heartbeats >= 2)

    blocks = bytes(client.raw).split(b"\n\n")[1:-1]  # the first has no heartbeat
    assert set(blocks) == {f": heartbeat\nid: {client.last_event_id}".encode()}
    assert client.events == []


async def test_the_cursor_of_a_quiet_user_keeps_up_with_a_busy_partition(
    set_up: SetUp, user: str
) -> None:
    stage = await set_up(1, heartbeat_seconds=0.3, tail_bytes=20_000, tail_warm_seconds=0)
    client = await stage.open(user)

    last = await stage.write.noise(1000, partition=0)

    def has_caught_up(client: StreamClient) -> bool:
        return bool(user_offset(client.last_event_id) == last.offset + 1)

    await client.wait_for(has_caught_up)
    assert client.events == []

    before = await stage.worker.metric("gateway_replay_records_scanned_total")
    await client.drop()
    await stage.write.numbered(user, [7])
    await client.reconnect()
    await client.wait_for(1)
    assert client.numbers == [7]
    assert client.own("gap") == []
    scanned = await stage.worker.metric("gateway_replay_records_scanned_total") - before
    assert scanned < 100, "nothing of what others got in the meantime is read again"


async def test_events_that_a_filter_leaves_out_move_the_cursor_on(set_up: SetUp, user: str) -> None:
    stage = await set_up(1, heartbeat_seconds=0.3)
    client = await stage.open(user, [("categories", "ai")])

    last = await stage.write.event(user, "import.started")

    await client.wait_for(lambda client: user_offset(client.last_event_id) == last.offset + 1)
    assert client.events == []
