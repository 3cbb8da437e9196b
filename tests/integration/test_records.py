"""Delivery of each record shape to the client, byte for byte, and of each producer mistake."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from tests.eventually import eventually
from tests.integration.conftest import OpenStream, SetUp, new_user
from tests.records import OCCURRED_AT, TYPE, Headers, RecordWriter, envelope, numbered
from tests.worker import Worker

PAYLOAD = b'{"z": 1, "a":[ 2.50, 12345678901234567890 ], "e":"\\u00e9\\u2028", "\xc3\xa9": 1e400 }'

SHAPES: dict[str, tuple[bytes, Headers]] = {
    "envelope": (
        b'{ "occurred_at":"%s" , "data":%s, "more": {"data": 1}, "event_id":"e",'
        b' "event_type":"import.started"}' % (OCCURRED_AT.encode(), PAYLOAD),
        [],
    ),
    "headers": (PAYLOAD, [("event_type", b"import.started"), ("event_id", b"e")]),
    "binary CloudEvent": (
        PAYLOAD,
        [
            ("ce_specversion", b"1.0"),
            ("ce_id", b"e"),
            ("ce_source", b"/test"),
            ("ce_type", b"import.started"),
            ("content-type", b"application/json"),
        ],
    ),
    "structured CloudEvent": (
        b'{"specversion":"1.0","id":"e","source":"/test","type":"import.started","data":%s}'
        % PAYLOAD,
        [("content-type", b"application/cloudevents+json; charset=UTF-8")],
    ),
}


CRC32_OF_FOUR = {"bob": 0, "frank": 1, "erin": 2, "alice": 3}
"""Users and where librdkafka puts them in a topic of four partitions: zlib's CRC-32, modulo 4."""


@pytest.mark.parametrize(("value", "headers"), SHAPES.values(), ids=SHAPES.keys())
async def test_each_shape_brings_its_payload_byte_for_byte(
    worker: Worker,
    user: str,
    open_stream: OpenStream,
    write: RecordWriter,
    value: bytes,
    headers: Headers,
) -> None:
    client = await open_stream(worker, user, [("categories", "import")])

    await write.record(user.encode(), value, headers=headers)

    await client.wait_for(1)
    assert client.events[0].type == "import.started"
    assert b"\ndata: " + PAYLOAD + b"\n" in bytes(client.raw)


HOSTILE = {
    "LF": (b"a\nid: forged\nevent: x\n\ndata: y", "a\nid: forged\nevent: x\n\ndata: y"),
    "CR": (b"a\rid: forged\r\rdata: y", "a\nid: forged\n\ndata: y"),
    "CR LF": (b"a\r\nretry: 1\r\n\r\nb", "a\nretry: 1\n\nb"),
    "NUL": (b"a\0b", "a\0b"),
    "separators": ("a\u2028b\u2029c\u0085d".encode(), "a\u2028b\u2029c\u0085d"),
    "invalid UTF-8": (b"a\xffb", "a\ufffdb"),
    "colon and space": (b": a ", ": a "),
    "line break at the end": (b"a\n", "a\n"),
}


@pytest.mark.parametrize(("payload", "data"), HOSTILE.values(), ids=HOSTILE.keys())
async def test_payload_cannot_inject_a_field(
    worker: Worker,
    user: str,
    open_stream: OpenStream,
    write: RecordWriter,
    payload: bytes,
    data: str,
) -> None:
    client = await open_stream(worker, user)

    await write.record(user.encode(), payload, headers=[("event_type", TYPE.encode())])
    await write.numbered(user, [1])

    await client.wait_for(2)
    assert client.events[0].type == TYPE
    assert client.events[0].data == data
    assert client.events[1].data == '{"n":1}'
    assert client.retry is not None
    assert 1500 <= client.retry <= 4500, "it is the gateway's"
    assert "forged" not in client.last_event_id


def broken(user: str) -> dict[str, tuple[bytes | None, bytes | None, Headers]]:
    """Return records that cannot be understood: key, value and headers."""
    key = user.encode()
    typed = [("event_type", TYPE.encode())]
    return {
        "no JSON": (key, b"hello", []),
        "cut off": (key, envelope(user)[:-5], []),
        "a list": (key, b"[]", []),
        "no type": (key, b'{"data": {}, "user_id": "x"}', []),
        "no data": (key, b'{"event_type": "import.started"}', []),
        "a number as type": (key, b'{"event_type": 1, "data": {}}', []),
        "an empty type": (key, envelope(user, ""), []),
        "a type with a line break": (key, envelope(user, "a\ndata: b"), []),
        "a type with NUL": (key, b"{}", [("event_type", b"a\0b")]),
        "a type that is not UTF-8": (key, b"{}", [("event_type", b"\xff")]),
        "the gateway's own type": (key, envelope(user, "stream.close"), []),
        "nested 100,000 deep": (key, envelope(user, TYPE, b"[" * 100_000 + b"]" * 100_000), []),
        "another user": (key, envelope(new_user()), []),
        "a tombstone": (key, None, []),
        "an empty value": (key, b"", []),
        "an empty payload": (key, b"", typed),
        "a key that is not UTF-8": (b"\xff\xfe", envelope(user), []),
        "no key": (None, envelope(user), []),
        "a CloudEvent of another version": (
            key,
            b"{}",
            [("ce_specversion", b"0.3"), ("ce_type", TYPE.encode())],
        ),
    }


@pytest.mark.parametrize("case", broken("").keys())
async def test_a_record_that_cannot_be_understood_is_skipped_and_counted(
    worker: Worker, user: str, open_stream: OpenStream, write: RecordWriter, case: str
) -> None:
    client = await open_stream(worker, user)
    before = await worker.metric("gateway_unreadable_records_total")
    first = await write.numbered(user, [1])
    key, value, headers = broken(user)[case]

    await write.record(key, value, headers=headers, partition=first.partition)
    await write.numbered(user, [2])

    await client.wait_for(2)
    assert client.numbers == [1, 2]
    assert len(client.events) == 2
    await worker.wait_for_metric("gateway_unreadable_records_total", before + 1)


async def test_unreadable_records_are_logged_with_their_position_but_not_each(
    set_up: SetUp, user: str
) -> None:
    stage = await set_up()
    client = await stage.open(user)

    where = await stage.write.record(user.encode(), b"hello")
    for _ in range(50):
        await stage.write.record(user.encode(), b"hello")
    await stage.write.numbered(user, [1])

    await client.wait_for(1)
    await stage.worker.wait_for_metric("gateway_unreadable_records_total", 51, reason="not_json")

    def all_told() -> list[dict[str, Any]]:
        lines = [line for line in stage.worker.entries() if line.get("reason") == "not_json"]
        told = sum(1 + int(line.get("not_logged_before", 0)) for line in lines)
        return lines if told == 51 else []

    lines = await eventually("the log accounts for all of them", all_told)
    times = [datetime.fromisoformat(line["timestamp"]).timestamp() for line in lines]
    assert len(lines) <= times[-1] - times[0] + 2
    assert lines[0]["detail"] == "JSON is malformed: invalid character (byte 0)"
    text = json.dumps(lines[0])
    assert stage.topics.user in text
    assert str(where.offset) in text


async def test_an_unknown_type_reaches_unfiltered_streams_only_and_is_counted(
    worker: Worker, user: str, open_stream: OpenStream, write: RecordWriter
) -> None:
    everything = await open_stream(worker, user)
    filtered = await open_stream(worker, user, [("categories", "import,ai,portfolio")])
    before = await worker.metric("gateway_unknown_types_total")

    await write.event(user, "weather.changed", b"1")
    await write.event(user, TYPE, b"2")

    await everything.wait_for(2)
    await filtered.wait_for(1)
    assert [event.type for event in everything.events] == ["weather.changed", TYPE]
    assert filtered.data == ["2"]
    await worker.wait_for_metric("gateway_unknown_types_total", before + 1)


async def test_a_category_header_overrides_the_registry(
    worker: Worker, user: str, open_stream: OpenStream, write: RecordWriter
) -> None:
    client = await open_stream(worker, user, [("categories", "ai")])

    for number, (event_type, category) in enumerate(
        [(TYPE, b"ai"), ("weather.changed", b"ai"), ("ai.response.chunk", b"import")]
    ):
        await write.record(
            user.encode(),
            numbered(number),
            headers=[("event_type", event_type.encode()), ("category", category)],
        )
    await write.event(user, "ai.response.complete", numbered(3))

    await client.wait_for(3)
    assert client.numbers == [0, 1, 3]


async def test_custom_registry_replaces_the_built_in_registry(
    set_up: SetUp, user: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    registry = tmp_path_factory.mktemp("registry") / "types.toml"
    registry.write_text('[categories]\nweather = ["rain.begins", "rain.ends"]\n')
    stage = await set_up(registry=registry)
    client = await stage.open(user, [("categories", "weather")])

    await stage.write.event(user, TYPE, numbered(0))
    await stage.write.event(user, "rain.ends", numbered(1))

    await client.wait_for(1)
    assert client.numbers == [1]


async def test_key_in_another_partition_is_counted_and_the_log_names_the_remedy(
    set_up: SetUp, user: str
) -> None:
    stage = await set_up()
    client = await stage.open(user)
    own = (await stage.write.numbered(user, [0])).partition
    others = [new_user() for _ in range(40)]

    for other in others:
        await stage.write.event(other, partition=own)
    await stage.write.numbered(user, [1])

    await client.wait_for(2)

    async def counted() -> bool:
        return await stage.worker.metric("gateway_partitioner_mismatches_total") >= 5

    await eventually("mismatches are counted", counted)
    await stage.worker.wait_for_log("GATEWAY_PARTITIONER")


async def test_the_partitioner_of_librdkafka_can_be_chosen(set_up: SetUp) -> None:
    stage = await set_up(partitioner="crc32")
    for user, partition in CRC32_OF_FOUR.items():
        client = await stage.open(user)
        await stage.write.numbered(user, [1], partition=partition)
        await client.wait_for(1)
        assert client.numbers == [1]
    assert await stage.worker.metric("gateway_partitioner_mismatches_total") == 0
