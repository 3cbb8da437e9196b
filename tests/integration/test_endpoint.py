"""Responses of the stream endpoint, and of unknown paths and methods."""

from __future__ import annotations

import re

from gateway.core.event_id import parse
from gateway.core.records import LogKind
from tests.integration.conftest import OpenStream, SetUp, new_user
from tests.records import RecordWriter, numbered
from tests.worker import Worker


async def test_response_headers_suit_proxies_and_browsers(
    worker: Worker, user: str, open_stream: OpenStream
) -> None:
    client = await open_stream(worker, user)

    headers = dict(client.headers)
    assert headers["content-type"].replace(" ", "") in (
        "text/event-stream",
        "text/event-stream;charset=utf-8",
    )
    assert headers["cache-control"] == "no-cache, no-transform"
    assert headers["connection"].lower() == "keep-alive"
    assert headers["x-accel-buffering"] == "no"
    assert headers["incremental"] == "?1"
    assert len(headers) == len(client.headers), "no header is sent twice"


async def test_the_first_bytes_are_the_retry_time_and_an_id_without_an_event(
    worker: Worker, user: str, open_stream: OpenStream
) -> None:
    client = await open_stream(worker, user)

    text = bytes(client.raw).decode()
    delay = re.match(r"retry: (\d+)\n", text)
    assert delay is not None
    assert 1500 <= int(delay[1]) <= 4500
    assert client.last_event_id
    fields = [line.partition(":")[0] for line in text.splitlines() if line]
    assert fields == ["retry", "id"]
    assert client.events == []
    assert {mark.kind for mark in parse(client.last_event_id)} == {LogKind.USER, LogKind.BROADCAST}


async def test_a_client_that_drops_before_its_first_event_resumes_without_loss(
    worker: Worker, user: str, open_stream: OpenStream, write: RecordWriter
) -> None:
    client = await open_stream(worker, user)
    await client.drop()
    await write.numbered(user, range(3))

    await client.reconnect()

    await client.wait_for(3)
    assert client.numbers == [0, 1, 2]
    assert client.own("gap") == []


async def test_an_event_is_an_id_a_type_and_the_payload(
    worker: Worker, user: str, open_stream: OpenStream, write: RecordWriter
) -> None:
    client = await open_stream(worker, user)
    begin = len(client.raw)

    await write.event(user, "import.progress", b'{"percent": 40}')

    await client.wait_for(1)
    lines = bytes(client.raw[begin:]).decode().splitlines()
    assert sorted(line for line in lines if line) == sorted(
        [f"id: {client.last_event_id}", "event: import.progress", 'data: {"percent": 40}']
    )
    assert lines[-1] == ""


async def test_each_event_has_a_unique_id(
    worker: Worker, user: str, open_stream: OpenStream, write: RecordWriter
) -> None:
    client = await open_stream(worker, user)

    await write.numbered(user, range(20))

    await client.wait_for(20)
    assert client.numbers == list(range(20))
    ids = [event.last_event_id for event in client.events]
    assert len(set(ids)) == 20
    assert all(len(event_id) <= 96 for event_id in ids)


async def test_two_streams_of_a_user_both_get_every_event_and_other_users_none(
    worker: Worker, user: str, open_stream: OpenStream, write: RecordWriter
) -> None:
    first = await open_stream(worker, user)
    second = await open_stream(worker, user)
    stranger = await open_stream(worker, other := new_user())

    await write.numbered(user, range(5))
    await write.numbered(other, [7])

    await first.wait_for(5)
    await second.wait_for(5)
    assert first.numbers == second.numbers == list(range(5))
    await stranger.wait_for(1)
    assert stranger.numbers == [7]


async def test_filter_passes_its_categories_and_the_cursor_advances(
    worker: Worker, user: str, open_stream: OpenStream, write: RecordWriter
) -> None:
    client = await open_stream(worker, user, [("categories", "ai")])
    begin = parse(client.last_event_id)

    await write.event(user, "portfolio.balance.updated", b"1")
    await write.event(user, "ai.response.chunk", b"2")
    await write.event(user, "security.session.new", b"3")
    await write.event(user, "ai.response.complete", b"4")

    await client.wait_for(2)
    assert client.data == ["2", "4"]
    assert parse(client.last_event_id) != begin
    await client.reconnect()
    await write.event(user, "ai.response.chunk", b"5")
    await client.wait_for(3)
    assert client.data == ["2", "4", "5"]


async def test_types_narrow_the_categories_and_the_cursor_advances(
    worker: Worker, user: str, open_stream: OpenStream, write: RecordWriter
) -> None:
    params = [("categories", "ai,import"), ("types", "ai.tool.*,import.completed,own.thing")]
    client = await open_stream(worker, user, params)
    await client.wait_for(lambda client: client.last_event_id)

    await write.event(user, "ai.response.chunk", b"1")
    await write.event(user, "ai.tool.executing", b"2")
    await write.event(user, "own.thing", b"3")
    await write.event(user, "import.completed", b"4")
    await write.event(user, "import.started", b"5")
    await client.wait_for(2)
    await client.reconnect()
    await write.event(user, "ai.tool.executing", b"6")
    await client.wait_for(3)
    assert client.data == ["2", "4", "6"]


async def test_a_broadcast_reaches_every_stream_once(set_up: SetUp) -> None:
    stage = await set_up()
    clients = [await stage.open(new_user()) for _ in range(5)]

    for number in range(3):
        await stage.write.broadcast("provider.disconnected", numbered(number))

    for client in clients:
        await client.wait_for(3)
        assert client.numbers == [0, 1, 2]


async def test_a_dropped_client_also_gets_the_broadcasts_that_it_missed(
    set_up: SetUp, user: str
) -> None:
    stage = await set_up()
    client = await stage.open(user)
    await stage.write.broadcast(data=numbered(0))
    await stage.write.numbered(user, [1])
    await client.wait_for(2)
    await client.drop()
    await stage.write.broadcast(data=numbered(2))
    await stage.write.numbered(user, [3])

    await client.reconnect()

    await client.wait_for(4)
    assert sorted(client.numbers) == [0, 1, 2, 3]


async def test_the_reconnection_time_can_be_set(set_up: SetUp, user: str) -> None:
    stage = await set_up(retry_ms=1234)

    client = await stage.open(user)

    assert client.retry == 1234
    others = [await stage.open(user) for _ in range(5)]
    delays = {other.retry for other in others}
    assert len(delays) == 5, "after a crash they do not return all at once"
    assert all(617 <= delay <= 1851 for delay in delays if delay is not None)
