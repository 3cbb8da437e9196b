"""The parts of an AsyncAPI description that depend on the configured sources."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.core.mapping import Origin, RecordMapping, Template
from gateway.core.records import LogKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.api.template import Json
    from gateway.core.registry import Registry
    from gateway.core.source import Source

FORMATS = ("envelope", "typed", "cloudEvent", "cloudEventDocument")
"""The messages of a topic without a mapping."""

_AUDIENCES = {
    LogKind.USER: "Events of the user whom the key names.",
    LogKind.GROUP: "Events of the group that the key names, for streams whose token lists it.",
    LogKind.BROADCAST: "Events for all streams; keys are ignored.",
}


def add_sources(document: Json, sources: Sequence[Source]) -> None:
    """Add a channel, an operation and, with a mapping, a message for each source."""
    messages = document["components"]["messages"]
    for number, source in enumerate(sources, 1):
        names: Iterable[str] = FORMATS
        if source.mapping is not None:
            names = [f"record{number}"]
            messages[f"record{number}"] = _message(source, source.mapping)
        kafka: Json = {"topic": source.topic, "bindingVersion": "0.5.0"}
        if source.kind is LogKind.BROADCAST:
            kafka["partitions"] = 1
        document["channels"][f"source{number}"] = {
            "address": source.topic,
            "description": _AUDIENCES[source.kind],
            "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
            "bindings": {"kafka": kafka},
        }
        document["operations"][f"readSource{number}"] = {
            "action": "receive",
            "summary": "Deliver a record to its streams",
            "channel": {"$ref": f"#/channels/source{number}"},
        }


def kinds(sources: Iterable[Source]) -> list[LogKind]:
    """Return the kinds of logs that a gap may name: users and broadcasts, and those of sources."""
    found = {source.kind for source in sources} | {LogKind.USER, LogKind.BROADCAST}
    return [kind for kind in LogKind if kind in found]


def event_types(registry: Registry, sources: Iterable[Source]) -> list[Json]:
    """Return a schema for the types of each category, and for those of each mapping."""
    types: dict[str, list[str]] = {}
    for event_type, category in registry.types.items():
        types.setdefault(category, []).append(event_type)
    known: list[Json] = [
        {"title": category, "description": f"Category `{category}`.", "enum": types[category]}
        for category in registry.categories
        if category in types
    ]
    return known + [
        {
            "title": source.mapping.type.text,
            "description": f"Topic {source.topic}.",
            "pattern": f"^{_expression(source.mapping.type)}$",
        }
        for source in sources
        if source.mapping is not None
    ]


def _expression(template: Template) -> str:
    return "".join(
        re.escape(part) if isinstance(part, str) else "[^\\n]*" for part in template.parts
    )


def _message(source: Source, mapping: RecordMapping) -> Json:
    needed = [part for part in mapping.type.parts if not isinstance(part, str)]
    headers = [place.name for place in needed if place.origin is Origin.HEADER]
    fields = [place.name for place in needed if place.origin is Origin.FIELD]
    payload: Json = {"description": "The value is the payload, byte for byte."}
    if mapping.reads_value:
        text = {"type": ["string", "integer"]}
        payload = {"type": "object", "properties": dict.fromkeys(fields, text)}
        if mapping.data is not None:
            payload["properties"][mapping.data] = {"description": "The payload, byte for byte."}
            fields.append(mapping.data)
        payload["required"] = list(dict.fromkeys(fields))
    message: Json = {
        "summary": f"An event of the type {mapping.type.text}",
        "headers": {
            "type": "object",
            "properties": {name: {"type": "string"} for name in headers},
            "required": headers,
        },
        "payload": payload,
    }
    if source.kind is not LogKind.BROADCAST:
        form = {"type": "string", "description": f"In UTF-8, of the form {source.form}."}
        message["bindings"] = {"kafka": {"key": form, "bindingVersion": "0.5.0"}}
    return message
