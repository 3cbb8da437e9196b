"""Clients and producers that come from another server, as `docs/migration.md` tells it."""

from __future__ import annotations

import json
import time
import uuid

import pytest

from tests.client import StreamClient
from tests.integration.conftest import OpenStream
from tests.records import OCCURRED_AT, TYPE, RecordWriter
from tests.worker import Worker

IDS = {
    "a UUID": "019447f2-3a5b-7c8d-9e0f-1a2b3c4d5e6f",
    "an entry of a Redis stream": "1737936000000-0",
    "Mercure's": "urn:uuid:5e94c686-2c0b-4f9b-958c-92ccc3bbb4eb",
    "Mercure's beginning": "earliest",
    "KafkaSSE's": '[{"topic":"edits","partition":0,"offset":12345},'
    '{"topic":"edits","partition":1,"offset":-1}]',
    "KafkaSSE's with times": '[{"topic":"edits","partition":0,"timestamp":1737936000000}]',
}
"""Ids that another server gave a client."""

pytestmark = pytest.mark.parametrize("broker", ["embedded"], indirect=True, scope="session")


def gaps(client: StreamClient) -> list[str]:
    return [json.loads(data)["reason"] for data in client.own("gap")]


@pytest.mark.parametrize(
    ("name", "carrier"),
    [*((name, "header") for name in IDS), ("Mercure's", "query")],
)
async def test_id_of_another_server_leads_to_one_gap_and_exact_delivery_after_it(
    worker: Worker,
    user: str,
    open_stream: OpenStream,
    write: RecordWriter,
    name: str,
    carrier: str,
) -> None:
    headers = {"Last-Event-ID": IDS[name]} if carrier == "header" else {}
    params = [] if carrier == "header" else [("last_event_id", IDS[name])]

    client = await open_stream(worker, user, params, headers)

    await client.wait_for(lambda client: client.own("gap"))
    assert gaps(client) == ["invalid"]
    await write.numbered(user, [0])
    await client.wait_for(lambda client: client.data)
    await client.drop()
    await write.numbered(user, [1, 2])
    await client.reconnect()
    await write.numbered(user, [3])
    await client.wait_for(lambda client: len(client.data) == 4)
    assert client.numbers == [0, 1, 2, 3]
    assert gaps(client) == ["invalid"]


async def test_since_fills_what_an_id_of_another_server_cannot(
    worker: Worker, user: str, open_stream: OpenStream, write: RecordWriter
) -> None:
    begin = int(time.time() * 1000)
    await write.numbered(user, range(3))

    client = await open_stream(
        worker, user, [("since", str(begin))], {"Last-Event-ID": IDS["a UUID"]}
    )

    await client.wait_for(lambda client: len(client.data) == 3)
    assert client.events[0].type == "stream.gap"
    assert gaps(client) == ["invalid"]
    assert client.numbers == [0, 1, 2]


async def test_a_message_for_redis_is_an_envelope_and_gives_the_same_event(
    worker: Worker, open_stream: OpenStream, write: RecordWriter
) -> None:
    user = str(uuid.uuid4())
    data = {"connection_id": "abc", "account_count": 3, "name": "Büro"}
    message = {
        "event_id": IDS["a UUID"],
        "event_type": "sync.accounts.completed",
        "user_id": user,
        "data": data,
        "occurred_at": OCCURRED_AT.replace("Z", "+00:00"),
    }
    params = [("categories", "data_sync"), ("categories", "provider")]
    client = await open_stream(worker, user, params)

    await write.event(user, TYPE)  # of another category
    await write.record(user.encode(), json.dumps(message).encode())

    await client.wait_for(1)
    as_before = f"\nevent: sync.accounts.completed\ndata: {json.dumps(data)}\n\n"
    assert as_before.encode() in bytes(client.raw)
    assert len(client.events) == 1
    assert ("cache-control", "no-cache, no-transform") in client.headers
    assert ("x-accel-buffering", "no") in client.headers


async def test_the_type_message_reaches_a_page_that_listens_for_nothing_else(
    worker: Worker, user: str, open_stream: OpenStream, write: RecordWriter
) -> None:
    client = await open_stream(worker, user)

    await write.record(user.encode(), b"<p>any text</p>", headers=[("event_type", b"message")])

    await client.wait_for(1)
    assert client.events[0][:2] == ("message", "<p>any text</p>")
