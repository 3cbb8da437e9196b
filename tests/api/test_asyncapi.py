"""The event descriptions are valid and match the events that the code writes and reads."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for

from gateway.core import frame
from gateway.core.event import Decoder
from gateway.core.event_id import FORM, parse
from gateway.core.gap import CloseReason, Gap, GapReason
from gateway.core.records import Event, LogKind, make_record
from gateway.core.registry import Registry
from gateway.fleet.status import PartitionLoad, Status, WorkerState, write_status
from gateway.http.public import EVENTS
from gateway.revocation.record import Change, Revocation, read_change, user_key, write_value
from tests.api import specification
from tests.api.described import EVERYTHING, VARIANTS, Json, of_events, of_topics, settings
from tests.sse import EventStreamParser

REMEDY = "describe it in gateway/api/events.yaml"

ID = of_events()["components"]["schemas"]["EventId"]["examples"][0]


def accepts(part: Json, value: object) -> bool:
    """Return whether a value matches a part of the event description."""
    whole = {**part, "components": of_topics()["components"]}
    return bool(Draft202012Validator(whole).is_valid(value))


def message(name: str) -> Json:
    found = of_topics()["components"]["messages"][name]
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def official() -> Any:
    schema = specification.schema()
    return validator_for(schema)(schema)


@pytest.mark.parametrize("variant", VARIANTS, ids=["defaults", "everything", "no topics"])
@pytest.mark.parametrize("describe", [of_events, of_topics])
def test_the_asyncapi_schema_accepts_the_descriptions(
    official: Any, describe: Callable[..., Json], variant: dict[str, object]
) -> None:
    document = describe(**variant)
    assert [error.message for error in official.iter_errors(document)] == []


SOURCES = """
[[source]]
topic = "orders.v1"
key = "customer:{user}"
type = "order.{header:kind}"
category = "orders"

[[source]]
topic = "notes"
audience = "group"
groups = "teams"
type = "{field:kind}"
data = "field:payload"

[[source]]
topic = "plain"

[[source]]
topic = "news"
audience = "all"
type = "news"
"""


def test_the_configured_sources_are_described(official: Any, tmp_path: Path) -> None:
    (tmp_path / "sources.toml").write_text(SOURCES)
    document = of_topics(sources=tmp_path / "sources.toml")
    assert [error.message for error in official.iter_errors(document)] == []
    channels = document["channels"]
    assert "userEvents" not in channels
    assert [channels[f"source{n}"]["address"] for n in (1, 2, 3, 4)] == [
        "orders.v1", "notes", "plain", "news"
    ]  # fmt: skip
    assert "envelope" in channels["source3"]["messages"]
    messages = document["components"]["messages"]
    assert messages["record1"]["headers"]["required"] == ["kind"]
    assert messages["record1"]["bindings"]["kafka"]["key"]["description"] == (
        "In UTF-8, of the form `customer:{user}`."
    )
    assert messages["record2"]["payload"]["required"] == ["kind", "payload"]
    assert "bindings" not in messages["record4"]
    gap = document["components"]["schemas"]["Gap"]["properties"]["log"]
    assert gap["enum"] == ["user", "group", "broadcast"]
    public = of_events(sources=tmp_path / "sources.toml")
    assert [error.message for error in official.iter_errors(public)] == []
    kinds = Draft202012Validator({"anyOf": public["components"]["schemas"]["Type"]["anyOf"][-4:-1]})
    assert kinds.is_valid("order.paid")
    assert [each["title"] for each in public["components"]["schemas"]["Type"]["anyOf"][-4:-1]] == [
        "order.{header:kind}", "{field:kind}", "news"
    ]  # fmt: skip


def test_the_asyncapi_schema_rejects_a_mistake(official: Any) -> None:
    document = of_topics()
    document["operations"]["stream"]["action"] = "shout"
    assert not official.is_valid(document)


def test_the_example_id_is_valid() -> None:
    assert parse(ID)
    assert re.fullmatch(FORM, ID)


@pytest.mark.parametrize(("schema", "reasons"), [("Gap", GapReason), ("Close", CloseReason)])
def test_every_reason_is_described(schema: str, reasons: type[GapReason | CloseReason]) -> None:
    described = of_events()["components"]["schemas"][schema]["properties"]["reason"]["oneOf"]
    assert {one["const"] for one in described} == {str(reason) for reason in reasons}, REMEDY
    assert all(one["description"] for one in described)


def test_every_type_of_the_registry_is_described_under_its_category() -> None:
    described = of_events()["components"]["schemas"]["Type"]["anyOf"][:-1]
    assert {
        event_type: category["title"] for category in described for event_type in category["enum"]
    } == Registry.built_in().types


@pytest.mark.parametrize("reason", GapReason)
@pytest.mark.parametrize(
    "gap",
    [
        Gap(GapReason.INVALID),
        Gap(GapReason.LIMIT, LogKind.USER, 3, 1200, 4711, 1_769_860_800_000),
        Gap(GapReason.RESET, LogKind.BROADCAST, since=0),
    ],
)
def test_a_gap_matches_its_description(gap: Gap, reason: GapReason) -> None:
    told = Gap(reason, gap.log, gap.partition, gap.first, gap.next, gap.since)
    assert_described("gap", frame.gap(ID.encode(), told))


def assert_described(name: str, written: bytes) -> None:
    [event] = EventStreamParser().feed(written)
    described = message(name)
    assert accepts(described["headers"], {"id": event.last_event_id, "event": event.type})
    assert accepts(described["payload"], json.loads(event.data))
    assert not accepts(described["payload"], {"reason": "boredom"})
    assert not accepts(message("event")["headers"]["properties"]["event"], event.type)


@pytest.mark.parametrize("reason", CloseReason)
def test_a_close_event_matches_its_description(reason: CloseReason) -> None:
    assert_described("close", frame.close(reason, 3000))


@pytest.mark.parametrize(
    ("name", "headers", "value", "readable"),
    [
        ("envelope", {}, {"event_type": "a.b", "data": None}, True),
        ("envelope", {}, {"event_type": "a.b", "data": [1], "user_id": "u", "more": 1}, True),
        ("envelope", {}, {"event_type": "a.b", "data": 1, "occurred_at": 5.5}, True),
        ("envelope", {}, {"event_type": "a.b"}, False),
        ("envelope", {}, {"event_type": "", "data": 1}, False),
        ("envelope", {}, {"event_type": "stream.gap", "data": 1}, False),
        ("envelope", {}, {"event_type": 7, "data": 1}, False),
        ("envelope", {}, [], False),
        ("typed", {"event_type": "a.b", "category": "import"}, "any text", True),
        ("typed", {"event_type": "stream.close"}, "any text", False),
        ("cloudEvent", {"ce_specversion": "1.0", "ce_type": "a.b"}, {"n": 1}, True),
        ("cloudEvent", {"ce_specversion": "0.3", "ce_type": "a.b"}, {"n": 1}, False),
        ("cloudEvent", {"ce_specversion": "1.0"}, {"n": 1}, False),
        (
            "cloudEventDocument",
            {"content-type": "application/cloudevents+json; charset=UTF-8"},
            {"specversion": "1.0", "type": "a.b", "id": "1", "source": "/s", "data": {"n": 1}},
            True,
        ),
        (
            "cloudEventDocument",
            {"content-type": "application/cloudevents+json"},
            {"specversion": "1.0", "type": "a.b", "data_base64": "e30="},
            True,
        ),
        (
            "cloudEventDocument",
            {"content-type": "application/cloudevents+json"},
            {"specversion": "1.0", "type": "a.b", "data": 1, "data_base64": "e30="},
            False,
        ),
        (
            "cloudEventDocument",
            {"content-type": "application/cloudevents+json"},
            {"specversion": "1.0", "type": "a.b"},
            False,
        ),
    ],
)
def test_exactly_the_described_records_can_be_read(
    name: str, headers: dict[str, str], value: object, readable: bool
) -> None:
    described = message(name)
    record = make_record(
        0,
        0,
        b"u",
        json.dumps(value).encode(),
        tuple((header, content.encode()) for header, content in headers.items()),
    )
    read = Decoder(Registry.built_in()).decode(record, keyed=True)
    assert isinstance(read, Event) is readable
    fits = accepts(described.get("headers", {}), headers) and accepts(described["payload"], value)
    assert fits is readable


@pytest.mark.parametrize("value", [None, {"user_id": "u"}, {"revoked_at": 5}, {"expires_at": "x"}])
def test_exactly_the_described_revocations_are_read(value: object) -> None:
    raw = None if value is None else json.dumps(value).encode()
    read = read_change(user_key(b"u"), raw, 1_769_860_800_000, 1000)
    assert isinstance(read, Change) is accepts(message("revocation")["payload"], value)


def test_records_written_by_a_worker_match_their_descriptions() -> None:
    revocation = write_value(Revocation(b"u", 1_769_860_800_000, 1_769_947_200_000))
    assert accepts(message("revocation")["payload"], json.loads(revocation))
    load = PartitionLoad(LogKind.USER, 3)
    status = Status(worker="w", number=1, state=WorkerState.READY, partitions=(load,))
    assert accepts(message("status")["payload"], json.loads(write_status(status)))


def test_topics_and_brokers_come_from_the_settings() -> None:
    made = settings(kafka_bootstrap="k1:9092,k2:9092", topic="events", workers_topic="")
    document = of_topics(kafka_bootstrap="k1:9092,k2:9092", topic="events", workers_topic="")
    addresses = {channel["address"] for channel in document["channels"].values()}
    assert addresses == {EVENTS, "events", made.broadcast_topic, made.revocations_topic}
    assert {"k1:9092", "k2:9092"} < {server["host"] for server in document["servers"].values()}


@pytest.mark.parametrize("variant", [{}, EVERYTHING])
def test_the_public_description_contains_no_topic_or_broker(variant: dict[str, object]) -> None:
    document = of_events(**variant)
    assert set(document["channels"]) == set(document["operations"]) == {"stream"}
    text, made = json.dumps(document), settings(**variant)
    for hidden in (made.topic, made.broadcast_topic, made.workers_topic, *made.kafka_bootstrap):
        assert hidden not in text
