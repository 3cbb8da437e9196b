"""Examples in the documents work: records decode as shown, code compiles, tables are complete."""

from __future__ import annotations

import json
import tomllib
from enum import StrEnum
from pathlib import Path

import msgspec
import pytest

from gateway.config import Settings
from gateway.core.event import Decoder
from gateway.core.event_id import parse
from gateway.core.gap import CloseReason, GapReason
from gateway.core.records import Event, Record, UnreadableReason, make_record
from gateway.core.registry import Registry
from gateway.core.stream import State
from gateway.readiness import NotReadyReason
from gateway.settings.secret_settings import SECRETS
from gateway.sources import parse_sources
from tests.docs.markdown import ROOT, Block, blocks, first_column

PRODUCERS = ROOT / "docs/producers.md"
RECORD_FORMATS = ROOT / "docs/record-formats.md"
SOURCES = ROOT / "docs/sources.md"
CLIENTS = ROOT / "docs/clients.md"
TUTORIAL = ROOT / "docs/tutorial.md"
DESIGN = ROOT / "docs/design.md"

RECORDS = blocks("record", documents=[PRODUCERS, RECORD_FORMATS])
FRAMES = blocks("sse", documents=[PRODUCERS, RECORD_FORMATS])


def where(block: object) -> str:
    return block.where if isinstance(block, Block) else ""


def written(text: str) -> Record:
    """Return the record written as `key …`, `header name: content`, `value …`."""
    head, _, value = text.rstrip("\n").partition("value ")
    key: bytes | None = None
    headers = []
    for line in head.splitlines():
        word, _, rest = line.partition(" ")
        if word == "key":
            key = rest.encode()
        else:
            assert word == "header", line
            name, _, content = rest.partition(": ")
            headers.append((name, content.encode()))
    value = value.replace("\\n", "\n")
    return make_record(0, 0, key, value.encode(), tuple(headers))


def decode(text: str) -> Event:
    event = Decoder(Registry.built_in()).decode(written(text), keyed=True)
    assert isinstance(event, Event), event
    return event


@pytest.mark.parametrize(("record", "frame"), list(zip(RECORDS, FRAMES, strict=True)), ids=where)
def test_a_record_yields_the_documented_frame(record: Block, frame: Block) -> None:
    event = decode(record.text)
    assert event.body.decode() == frame.text + "\n"
    assert event.category == Registry.built_in().category_of(event.event_type)


@pytest.mark.parametrize("number", range(3))
def test_a_source_yields_the_documented_frame(number: int) -> None:
    toml, record, frame = (
        blocks(language, documents=[SOURCES])[number] for language in ("toml", "record", "sse")
    )
    source = parse_sources(toml.text)[0]
    found = written(record.text)
    assert source.key.name(found.key or b"")
    event = Decoder(Registry.built_in()).decode(found, keyed=True, source=source)
    assert isinstance(event, Event), event
    assert event.body.decode() == frame.text + "\n"


@pytest.mark.parametrize(
    ("document", "heading", "words"),
    [
        (RECORD_FORMATS, "reason", {*UnreadableReason}),
        (CLIENTS, "reason", {*GapReason, *CloseReason}),
        (DESIGN, "state", {*State}),
        (DESIGN, "not ready", {*NotReadyReason}),
    ],
)
def test_a_table_has_a_row_for_each_value_of_the_code(
    document: Path, heading: str, words: set[StrEnum]
) -> None:
    assert sorted(first_column(document, heading)) == sorted(words)


@pytest.mark.parametrize("block", blocks("sse", documents=[CLIENTS, TUTORIAL]), ids=where)
def test_an_example_stream_has_ids_and_json(block: Block) -> None:
    for line in block.text.splitlines():
        field, _, value = line.partition(": ")
        if field == "id":
            assert parse(value)
        elif field == "data":
            assert json.loads(value)


@pytest.mark.parametrize("block", blocks("toml"), ids=where)
def test_toml_is_settings_or_a_registry(block: Block) -> None:
    document = tomllib.loads(block.text)
    if "categories" in document:
        assert Registry.from_toml(block.text).categories
    elif "source" in document:
        assert parse_sources(block.text)
    else:
        if block.document.startswith(
            "docs/kafka/"
        ):  # connection settings only; their files do not exist here
            document["jwt_public_key_file"] = "jwt.pem"
            document |= {name: "x" for name in SECRETS if f"{name}_file" in document}
        Settings(**document).require_key()


@pytest.mark.parametrize("block", blocks("json"), ids=where)
def test_json_parses(block: Block) -> None:
    msgspec.json.decode(block.text)
