"""Encodes events for a source with a mapping: the inverse of `gateway.core.mapping`.

A command or a demo that writes an event needs it; services write records of their own.
"""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

import msgspec

from gateway.core.mapping import MappedRecords, Origin, RecordMapping, Template
from gateway.core.records import Unreadable
from gateway.errors import PublishError
from gateway.kafka.envelope import Message

if TYPE_CHECKING:
    from gateway.core.source import Source


def encode_mapped(
    source: Source,
    mapping: RecordMapping,
    key: bytes | None,
    event_type: str,
    data: msgspec.Raw,
    *,
    event_id: str | uuid.UUID | None = None,
) -> Message:
    """Return a record that a worker reads as this event.

    Raises `PublishError` if the mapping cannot yield the type: it is fixed, or comes from a field
    of the payload that has another value.
    """
    name = str(uuid.uuid4()) if event_id is None else str(event_id)
    texts = _placeholders(mapping.type, event_type)
    if texts is None:
        raise PublishError(
            f"topic {source.topic} has types of the form {mapping.type.text}, and {event_type[:64]}"
            " is not one; write a type of this form, or another --topic"
        )
    headers = [
        (place, text.encode()) for (origin, place), text in texts.items() if origin is Origin.HEADER
    ]
    value = bytes(data)
    if mapping.data is not None:
        fields: dict[str, object] = {
            place: text for (origin, place), text in texts.items() if origin is Origin.FIELD
        }
        fields[mapping.data] = data
        value = msgspec.json.encode(fields)
    found = MappedRecords().read(mapping, headers, value)
    if isinstance(found, Unreadable):
        raise PublishError(
            f"topic {source.topic} takes its types from the payload: {found.detail or found.reason}"
        )
    if found[0] != event_type:
        raise PublishError(
            f"topic {source.topic} takes its types from the payload, which says {found[0][:64]}"
        )
    return Message(name, key, value, [*headers, ("event_id", name.encode())])


def _placeholders(template: Template, text: str) -> dict[tuple[Origin, str], str] | None:
    """Return the text of each placeholder that makes `text`; None if none does."""
    places = [part for part in template.parts if not isinstance(part, str)]
    form = "".join(re.escape(part) if isinstance(part, str) else "(.+)" for part in template.parts)
    found = re.fullmatch(form, text, re.DOTALL)
    if found is None:
        return None
    return {(place.origin, place.name): found[1 + index] for index, place in enumerate(places)}
