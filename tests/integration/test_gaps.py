"""Every kind of gap: events that expired before a cursor read them, and invalid cursors."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from aiokafka.admin import RecordsToDelete
from aiokafka.structs import TopicPartition

from gateway.core.event_id import CursorEntry, encode, parse
from gateway.core.records import LogKind, OffsetPosition
from tests.brokers.metadata import admin_client
from tests.client import StreamClient
from tests.conftest import Broker
from tests.integration.conftest import OpenStream, SetUp, new_user
from tests.records import RecordWriter
from tests.worker import Worker


def reasons(client: StreamClient) -> list[str]:
    """Return the reasons of the gaps that the client received."""
    return [json.loads(data)["reason"] for data in client.own("gap")]


def with_user_mark(event_id: str, **changes: Any) -> str:
    """Return the id with other values in the entry of the user's log."""
    marks = [
        mark._replace(**changes) if mark.kind is LogKind.USER else mark for mark in parse(event_id)
    ]
    return encode(marks).decode()


def user_mark(event_id: str) -> CursorEntry:
    """Return the position of the user's log in the id."""
    (mark,) = (mark for mark in parse(event_id) if mark.kind is LogKind.USER)
    return mark


async def first_id(client: StreamClient) -> str:
    """Return the id that the stream begins with, and end it."""
    await client.wait_for(lambda client: client.last_event_id)
    await client.drop()
    return client.last_event_id


LIMITS: dict[str, dict[str, Any]] = {
    "memory": {"replay_max_events": 10},
    "replay": {"replay_max_events": 10, "tail_bytes": 20_000, "tail_warm_seconds": 0},
}


@pytest.mark.parametrize("settings", LIMITS.values(), ids=LIMITS.keys())
async def test_more_events_than_the_limit_leave_a_gap_and_the_newest(
    set_up: SetUp, user: str, settings: dict[str, Any]
) -> None:
    stage = await set_up(1, **settings)
    client = await stage.open(user)
    await first_id(client)
    seen = await stage.witness()
    await stage.write.numbered(user, range(25))
    await stage.write.noise(100, partition=0)
    await seen.has_seen_everything()

    await client.reconnect()

    await client.wait_for(lambda client: len(client.data) == 10)
    assert client.events[0].type == "stream.gap"
    assert reasons(client) == ["limit"]
    assert client.numbers == list(range(15, 25))
    await stage.worker.wait_for_metric("gateway_gaps_total", 1, reason="limit")
    await client.reconnect()
    await stage.write.numbered(user, [25])
    await client.wait_for(lambda client: len(client.data) == 11)
    assert client.numbers[-1] == 25
    assert len(client.own("gap")) == 1, "a gap is reported once"


async def test_more_records_than_the_limit_leave_a_gap_and_the_newest(
    set_up: SetUp, user: str
) -> None:
    stage = await set_up(1, replay_max_records=1000, tail_bytes=20_000, tail_warm_seconds=0)
    client = await stage.open(user)
    await first_id(client)
    seen = await stage.witness()
    await stage.write.numbered(user, [0])
    await stage.write.noise(3000, partition=0)
    await stage.write.numbered(user, [1])
    await stage.write.noise(200, partition=0)
    await seen.has_seen_everything()

    await client.reconnect()

    await client.wait_for(2)
    assert reasons(client) == ["limit"]
    assert client.numbers == [1]


@pytest.mark.parametrize("broker", ["kafka"], indirect=True, scope="session")  # see conftest
async def test_older_events_than_the_limit_leave_a_gap_and_the_newest(
    set_up: SetUp, user: str
) -> None:
    stage = await set_up(1, replay_max_age_seconds=600, tail_warm_seconds=0)
    now = int(time.time() * 1000)
    await stage.write.numbered(user, [0], timestamp_ms=now - 1_200_000)
    await stage.write.numbered(user, [1], timestamp_ms=now - 60_000)
    start = now - 3_600_000
    begin = with_user_mark(
        await first_id(await stage.open(user)), position=OffsetPosition(0, start, False)
    )

    for params, headers in (([("since", str(start))], {}), ([], {"Last-Event-ID": begin})):
        client = await stage.open(user, params, headers)
        await client.wait_for(2)
        assert reasons(client) == ["limit"]
        assert client.numbers == [1]


@pytest.mark.parametrize("broker", ["kafka"], indirect=True, scope="session")
async def test_id_older_than_retention_leads_to_a_gap_and_the_retained_events(
    set_up: SetUp, broker: Broker, user: str
) -> None:
    stage = await set_up(1)
    client = await stage.open(user)
    await first_id(client)
    await stage.write.numbered(user, range(10))
    async with admin_client(broker.bootstrap) as admin:
        await admin.delete_records({TopicPartition(stage.topics.user, 0): RecordsToDelete(6)})
    fresh = await stage.start()

    await client.reconnect(url=fresh.events_url)

    await client.wait_for(5)
    assert client.events[0].type == "stream.gap"
    assert reasons(client) == ["expired"]
    assert client.numbers == [6, 7, 8, 9]


async def test_an_id_beyond_the_end_of_the_log_leads_to_a_gap(
    worker: Worker, user: str, open_stream: OpenStream, write: RecordWriter
) -> None:
    client = await open_stream(worker, user)
    await write.numbered(user, [0])
    await client.wait_for(1)
    beyond = OffsetPosition(10**9, int(time.time() * 1000), True)
    forged = with_user_mark(client.last_event_id, position=beyond)

    again = await open_stream(worker, user, headers={"Last-Event-ID": forged})

    await again.wait_for(lambda client: client.own("gap"))
    assert reasons(again) == ["reset"]
    await write.numbered(user, [1])
    await again.wait_for(lambda client: client.data)
    assert again.numbers[-1] == 1


async def test_an_id_whose_last_record_has_another_time_leads_to_a_gap(
    set_up: SetUp, user: str
) -> None:
    stage = await set_up(1, tail_bytes=20_000, tail_warm_seconds=0)
    client = await stage.open(user)
    await stage.write.numbered(user, range(3))
    await client.wait_for(3)
    seen = await stage.witness()
    place = user_mark(client.last_event_id).position
    assert isinstance(place, OffsetPosition)
    forged = with_user_mark(
        client.last_event_id, position=place._replace(timestamp=place.timestamp - 7)
    )
    await stage.write.noise(300, partition=0)
    await seen.has_seen_everything()

    for event_id, expected in ((client.last_event_id, []), (forged, ["reset"])):
        again = await stage.open(user, headers={"Last-Event-ID": event_id})
        await stage.write.numbered(user, [3])
        await again.wait_for(lambda client: 3 in client.numbers)
        assert reasons(again) == expected


FORGERIES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "the beginning": ({"position": OffsetPosition(0, 0, False)}, []),
    "the greatest offset": ({"position": OffsetPosition((1 << 63) - 1, 0, False)}, ["reset"]),
    "the greatest offset, seen": (
        {"position": OffsetPosition((1 << 63) - 1, (1 << 47) - 1, True)},
        ["reset"],
    ),
    "another tag": ({"tag": b"\0\0\0\0"}, ["reset"]),
    "another tag and the greatest time": (
        {"tag": b"\xff\xff\xff\xff", "position": OffsetPosition(5, (1 << 47) - 1, True)},
        ["reset"],
    ),
    "a partition that there is not": ({"partition": (1 << 24) - 1}, ["reset"]),
}


@pytest.mark.parametrize(("changes", "gaps"), FORGERIES.values(), ids=FORGERIES.keys())
async def test_a_forged_id_never_shows_another_users_event(
    worker: Worker,
    user: str,
    open_stream: OpenStream,
    write: RecordWriter,
    changes: dict[str, Any],
    gaps: list[str],
) -> None:
    await write.numbered(new_user(), range(5))
    forged = with_user_mark(await first_id(await open_stream(worker, user)), **changes)

    client = await open_stream(worker, user, headers={"Last-Event-ID": forged})

    await client.wait_for(lambda client: reasons(client) == gaps)
    await write.numbered(user, [77])
    await client.wait_for(lambda client: client.data)
    assert client.numbers == [77]
    assert reasons(client) == gaps


async def test_id_of_another_user_reveals_none_of_their_events(
    worker: Worker, user: str, open_stream: OpenStream, write: RecordWriter
) -> None:
    victim = new_user()
    theirs = await first_id(await open_stream(worker, victim))
    await write.numbered(victim, range(5))

    client = await open_stream(worker, user, headers={"Last-Event-ID": theirs})

    await write.numbered(user, [77])
    await client.wait_for(lambda client: client.data)
    assert client.numbers == [77]
