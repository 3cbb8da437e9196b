"""Where a stream begins: by an id, by a time, or now."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from tests.client import StreamClient
from tests.eventually import eventually
from tests.integration.conftest import OpenStream, SetUp
from tests.records import RecordWriter
from tests.worker import Worker


async def ids_of(client: StreamClient, write: RecordWriter, user: str, count: int) -> list[str]:
    """Write numbered events and return the id that each of them came with."""
    await client.wait_for(lambda client: client.last_event_id)
    await write.numbered(user, range(count))
    await client.wait_for(count)
    await client.drop()
    return [event.last_event_id for event in client.events]


async def next_millisecond() -> datetime:
    """Return a whole millisecond that has begun after the call."""
    now = datetime.now(UTC)
    start = now.replace(microsecond=now.microsecond // 1000 * 1000) + timedelta(milliseconds=1)
    await eventually("a millisecond passes", lambda: datetime.now(UTC) >= start)
    return start


async def test_an_id_wins_over_a_time(
    worker: Worker, user: str, open_stream: OpenStream, write: RecordWriter
) -> None:
    ids = await ids_of(await open_stream(worker, user), write, user, 4)

    client = await open_stream(worker, user, [("since", "0")], {"Last-Event-ID": ids[2]})

    await client.wait_for(1)
    assert client.numbers == [3]
    assert client.own("gap") == []


async def test_a_stream_can_start_at_a_time_in_each_way_of_writing_it(
    set_up: SetUp, user: str
) -> None:
    stage = await set_up()
    await stage.write.numbered(user, [0])
    start = await next_millisecond()
    await stage.write.numbered(user, [1, 2])

    for text in (
        str(round(start.timestamp() * 1000)),
        start.isoformat(),
        start.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat(),
        start.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    ):
        client = await stage.open(user, [("since", text)])
        await client.wait_for(2)
        assert client.numbers == [1, 2], text
        assert client.own("gap") == []


async def test_a_time_to_come_means_now(
    worker: Worker, user: str, open_stream: OpenStream, write: RecordWriter
) -> None:
    earlier = await open_stream(worker, user)
    await write.numbered(user, [0])
    await earlier.wait_for(1)
    future = str(int((time.time() + 3600) * 1000))

    client = await open_stream(worker, user, [("since", future)])

    await write.numbered(user, [1])
    await client.wait_for(1)
    assert client.numbers == [1]


@pytest.mark.parametrize(
    "value",
    ["42", "nonsense", "1", "1u", "2" + "A" * 29, "1u" + "A" * 27, "1u" + "=" * 28, "x" * 5000],
    ids=lambda value: value[:10],
)
@pytest.mark.parametrize("place", ["header", "query"])
async def test_foreign_id_gets_a_live_stream_that_begins_with_a_gap(
    worker: Worker,
    user: str,
    open_stream: OpenStream,
    write: RecordWriter,
    value: str,
    place: str,
) -> None:
    client = await open_stream(
        worker,
        user,
        [("Last-Event-ID", value)] if place == "query" else [],
        {"Last-Event-ID": value} if place == "header" else {},
    )
    await client.wait_for(1)
    assert client.events[0].type == "stream.gap"
    assert json.loads(client.events[0].data)["reason"] == "invalid"
    assert client.events[0].last_event_id

    await write.numbered(user, [1])

    await client.wait_for(2)
    assert client.numbers == [1]
    await client.reconnect()
    await write.numbered(user, [2])
    await client.wait_for(3)
    assert client.numbers == [1, 2]
    assert len(client.own("gap")) == 1, "a gap is reported once"
