from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.config import load_settings
from gateway.errors import PublishError
from gateway.publisher import EventPublisher
from tests.child import free_port
from tests.commands.command import gateway, settings_of
from tests.conftest import PARTITIONS, Broker, MakeTopics
from tests.kafka.test_publisher import records_of


async def test_an_event_is_written_with_its_payload_as_it_was_typed(
    broker: Broker, topics: MakeTopics
) -> None:
    made = await topics()
    settings = settings_of(broker, made)
    finished = await gateway(
        "publish", "alice", "import.started", '{"price": 1.10}', settings=settings
    )
    assert finished.code == 0, finished.err
    [record] = await records_of(broker, made.user, PARTITIONS)
    assert record.key == b"alice"
    assert b'"data":{"price": 1.10}' in record.value
    assert json.loads(record.value)["event_id"] == finished.out.strip()


async def test_a_broadcast_is_written_to_the_broadcast_topic(
    broker: Broker, topics: MakeTopics
) -> None:
    made = await topics()
    settings = settings_of(broker, made)
    finished = await gateway("publish", "--broadcast", "maintenance.planned", settings=settings)
    assert finished.code == 0, finished.err
    assert "'maintenance.planned' is in no category" in finished.err
    [record] = await records_of(broker, made.broadcast, 1)
    assert json.loads(record.value)["data"] == {}


async def test_lines_that_are_wrong_are_reported_and_the_others_written(
    broker: Broker, topics: MakeTopics
) -> None:
    made = await topics()
    settings = settings_of(broker, made)
    lines = [
        '{"user_id": "alice", "event_type": "import.started", "data": {"n": 1}}',
        "nonsense",
        "",
        '{"user_id": "alice", "event_type": "stream.gap"}',
        '{"user_id": null, "event_type": "import.started", "broadcast": true}',
        '{"user_id": "bob", "event_type": "import.started", "broadcast": true}',
        '{"event_type": "import.started"}',
        '{"user_id": "alice", "event_type": "import.started", "dta": {}}',
        '{"user_id": "alice", "event_type": "import.completed"}',
    ]
    finished = await gateway("publish", stdin="\n".join(lines).encode(), settings=settings)
    assert finished.code == 1
    assert finished.out == ""
    reports = finished.err.splitlines()
    assert reports[-1] == "3 written, 5 failed"
    assert [report.split(":")[1] for report in reports[:-1]] == [
        " line 2", " line 4", " line 6", " line 7", " line 8"
    ]  # fmt: skip
    types = [json.loads(r.value)["event_type"] for r in await records_of(broker, made.user, 4)]
    assert types == ["import.started", "import.completed"]
    assert len(await records_of(broker, made.broadcast, 1)) == 1


SOURCES = """
[[source]]
topic = "{user}"
key = "customer:{{user}}"
type = "order.{{header:kind}}"
category = "orders"
data = "field:body"

[[source]]
topic = "{group}"
audience = "group"
groups = "teams"

[[source]]
topic = "{broadcast}"
audience = "all"
type = "news"
"""


async def test_a_record_has_the_form_of_its_source(
    broker: Broker, topics: MakeTopics, tmp_path: Path
) -> None:
    made, groups = await topics(), await topics()
    file = tmp_path / "sources.toml"
    file.write_text(SOURCES.format(user=made.user, group=groups.user, broadcast=made.broadcast))
    settings = {"kafka_bootstrap": broker.bootstrap, "sources": str(file)}
    finished = await gateway("publish", "alice", "order.paid", '{"n": 1.0}', settings=settings)
    assert finished.code == 0, finished.err
    assert finished.err == "", "the source has a category"
    [record] = await records_of(broker, made.user, PARTITIONS)
    assert (record.key, record.value) == (b"customer:alice", b'{"body":{"n": 1.0}}')
    assert dict(record.headers)["kind"] == b"paid"
    event = ("red", "team.changed", "{}")
    finished = await gateway("publish", *event, "--topic", groups.user, settings=settings)
    assert finished.code == 0, finished.err
    [record] = await records_of(broker, groups.user, PARTITIONS)
    assert (record.key, json.loads(record.value)["event_type"]) == (b"red", "team.changed")
    finished = await gateway("publish", "--broadcast", "news", '"hello"', settings=settings)
    assert finished.code == 0, finished.err
    [record] = await records_of(broker, made.broadcast, 1)
    assert record.value == b'"hello"'
    for words, code, error in (
        (("alice", "shipped"), 1, "has types of the form order.{header:kind}"),
        (("alice", "news", "--topic", made.broadcast), 1, "no single topic fits this event"),
        (("alice", "order.paid", "--topic", "other"), 2, "other is not a topic of the gateway"),
    ):
        finished = await gateway("publish", *words, settings=settings)
        assert finished.code == code
        assert error in finished.err


async def test_values_of_a_schema_registry_are_not_written(tmp_path: Path) -> None:
    file = tmp_path / "sources.toml"
    file.write_text('[[source]]\ntopic = "orders"\nformat = "avro"\n')
    settings = {
        "kafka_bootstrap": f"127.0.0.1:{free_port()}",
        "sources": str(file),
        "schema_registry_url": "http://127.0.0.1:9",
    }
    publisher = EventPublisher.from_settings(load_settings(None, **settings))
    with pytest.raises(PublishError, match="topic orders has values in avro: write them with the"):
        await publisher.publish("alice", "order.paid", {})


@pytest.mark.parametrize(
    ("arguments", "text", "code"),
    [
        (["alice"], "gateway publish USER TYPE [JSON]", 2),
        (["--broadcast"], "gateway publish --broadcast TYPE [JSON]", 2),
        (["--broadcast", "a", "{}", "x"], "gateway publish --broadcast TYPE [JSON]", 2),
        (["alice", "import.started", "{"], "the payload is not valid JSON", 1),
        (["alice", "import.started"], "no Kafka broker answers at", 1),
    ],
)
async def test_failed_write_is_reported_without_a_traceback(
    arguments: list[str], text: str, code: int
) -> None:
    address = f"127.0.0.1:{free_port()}"
    finished = await gateway("publish", *arguments, settings={"kafka_bootstrap": address})
    assert finished.code == code
    assert text in finished.err
    assert "Traceback" not in finished.err
