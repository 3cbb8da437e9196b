"""An outbox table through Debezium's event router, as `docs/producers.md` configures it.

The router, Kafka's transforms and the converters are the real ones, run by a program in the place
of a Connect worker; the records that they make of test changes are written to Kafka.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import Broker
from tests.docs.markdown import ROOT, blocks
from tests.integration.conftest import OpenStream
from tests.records import TYPE, RecordWriter, numbered
from tests.shared import Shared
from tests.writers import programs
from tests.writers.programs import Row

PRODUCERS = ROOT / "docs/producers.md"

JSON = "org.apache.kafka.connect.json.JsonConverter"

PAYLOAD = '{"rows":  9, "took_ms": 41.50, "é": [], "x": null}'

REWRITTEN = '{"rows":9,"took_ms":41.5}'
"""What is left of it where the router expands it."""

pytestmark = pytest.mark.parametrize("broker", ["kafka"], indirect=True, scope="session")


def shown() -> tuple[dict[str, str], dict[str, str]]:
    """Return the document's connector, and it with the document's changes for envelopes."""
    header, envelope = (
        json.loads(block.text)
        for block in blocks("json", documents=[PRODUCERS])
        if "transforms.outbox" in block.text
    )
    return header, {**header, **envelope}


async def test_outbox_events_reach_clients_as_documented(
    broker: Broker,
    shared: Shared,
    user: str,
    open_stream: OpenStream,
    write: RecordWriter,
    tmp_path: Path,
) -> None:
    header, envelope = shown()
    expanded = {"transforms.outbox.table.expand.json.payload": "true"}
    configurations: dict[str, Mapping[str, str]] = {
        PAYLOAD: header,
        REWRITTEN: envelope,
        json.dumps(PAYLOAD, ensure_ascii=False): header
        | {"value.converter": JSON, "value.converter.schemas.enable": "false"},
        "schema of a string": header
        | {"value.converter": JSON, "value.converter.schemas.enable": "true"},
        "schema of an object": header
        | expanded
        | {"value.converter": JSON, "value.converter.schemas.enable": "true"},
        "no type on top": envelope | {"value.converter.schemas.enable": "true"},
    }
    to_topic = {"transforms.outbox.route.topic.replacement": shared.topics.user}
    users = [user, f"{user}-日本"]
    clients = [await open_stream(shared.worker, name) for name in users]
    before = await shared.worker.metric("gateway_unreadable_records_total", reason="wrong_shape")

    partitions = await programs.outbox(
        broker.bootstrap,
        [Row(name, PAYLOAD, (("event_type", TYPE),)) for name in users],
        [configuration | to_topic for configuration in map(dict, configurations.values())],
        tmp_path,
    )
    for name in users:
        await write.event(name, TYPE, numbered(0))

    assert len(partitions) == len(users) * len(configurations), "deletions write nothing"
    for client in clients:
        await client.wait_for(6)
        assert {event.type for event in client.events} == {TYPE}
        *plain, of_string, of_object, last = client.data
        assert plain == list(configurations)[:3]
        assert json.loads(of_string)["payload"] == PAYLOAD
        assert json.loads(of_object)["payload"] == json.loads(REWRITTEN)
        assert json.loads(of_object)["schema"]["type"] == "struct"
        assert last == '{"n":0}'
    after = await shared.worker.metric("gateway_unreadable_records_total", reason="wrong_shape")
    assert after == before + len(users), "an envelope inside a schema's envelope has no type"
