"""Record mapping: how a record of any form becomes an event.

A template is text with placeholders: `{header:NAME}` is a header of the record, `{field:NAME}` a
top-level field of its value, which is then a JSON object.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.core.json_text import parse, restored, text
from gateway.core.records import Unreadable, UnreadableReason

if TYPE_CHECKING:
    from collections.abc import Sequence

_PLACEHOLDER = re.compile(r"\{(header|field):([^{}]+)\}")


class Origin(StrEnum):
    """Where a placeholder takes its text from."""

    HEADER = "header"
    FIELD = "field"


class Placeholder(NamedTuple):
    """A part of a template that is taken from the record.

    The names of headers are compared in lower case, and `name` of a header is in lower case.
    """

    origin: Origin
    name: str


class Template(NamedTuple):
    """Literal text and placeholders, in order."""

    text: str
    """The template as written."""
    parts: tuple[str | Placeholder, ...]

    @property
    def fixed(self) -> bool:
        """Whether it is literal text only."""
        return self.parts == (self.text,)

    @property
    def reads_value(self) -> bool:
        """Whether it names a field of the value, which has to be parsed then."""
        return any(
            isinstance(part, Placeholder) and part.origin is Origin.FIELD for part in self.parts
        )

    @classmethod
    def parse(cls, written: str) -> Template:
        """Return the template in `written`. Raises `ValueError` with cause and remedy."""
        parts: list[str | Placeholder] = []
        # `split` returns literal text, kind and name of a placeholder, literal text, and so on.
        pieces = _PLACEHOLDER.split(written)
        for index in range(0, len(pieces), 3):
            literal = pieces[index]
            if "{" in literal or "}" in literal:
                raise ValueError(
                    "has a brace that belongs to no placeholder; placeholders are {header:NAME}"
                    " and {field:NAME}"
                )
            if literal:
                parts.append(literal)
            if index + 2 < len(pieces):
                origin, name = Origin(pieces[index + 1]), pieces[index + 2]
                parts.append(Placeholder(origin, name.lower() if origin == "header" else name))
        if not parts:
            raise ValueError("is empty; write fixed text, {header:NAME} or {field:NAME}")
        return cls(written, tuple(parts))


class RecordMapping(NamedTuple):
    """How the records of a source become events."""

    type: Template
    category: Template | None = None
    """None: the category that the registry has for the type."""
    data: str | None = None
    """The top-level field of the value that is the payload; None: the whole value."""

    @property
    def reads_value(self) -> bool:
        """Whether the value of a record has to be parsed."""
        category = self.category
        return (
            self.data is not None
            or self.type.reads_value
            or (category is not None and category.reads_value)
        )


Fields = dict[str, msgspec.Raw]
"""The top-level fields of a value, not interpreted."""


Mapped = tuple[str, bytes, str | None]
"""Event type, payload, and category if the mapping has one that the record can fill."""


class MappedRecords:
    """Reads records by a mapping. A value is parsed only if the mapping names a field of it."""

    def __init__(self) -> None:
        self._fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
        self._scalar: msgspec.json.Decoder[str | int] = msgspec.json.Decoder(str | int)

    def read(
        self, mapping: RecordMapping, headers: Sequence[tuple[str, bytes]], value: bytes
    ) -> Mapped | Unreadable:
        """Return the parts of the event, or why the record is unreadable; never raises.

        The payload is the whole value or one field of it, byte for byte.
        """
        fields: Fields = {}
        if mapping.reads_value:
            found = parse(self._fields, value)
            if isinstance(found, Unreadable):
                return found
            fields = found
        # Of two headers with the same name the last one counts, as in every Kafka client.
        named = {name.lower(): content for name, content in headers} if headers else {}
        event_type = self._filled(mapping.type, named, fields)
        if isinstance(event_type, Unreadable):
            return event_type
        payload = value
        if mapping.data is not None:
            if mapping.data not in fields:
                return _missing(Placeholder(Origin.FIELD, mapping.data))
            payload = restored(fields[mapping.data], value)
        category = None
        if mapping.category is not None:
            filled = self._filled(mapping.category, named, fields)
            # Without its header or field an event has the category of its type, if any.
            category = filled if isinstance(filled, str) else None
        return event_type, payload, category

    def _filled(
        self, template: Template, headers: dict[str, bytes], fields: Fields
    ) -> str | Unreadable:
        """Return the text of a template for one record."""
        found = ""
        for part in template.parts:
            if isinstance(part, str):
                found += part
                continue
            origin, name = part
            piece: str | None
            if origin is Origin.HEADER:
                if name not in headers:
                    return _missing(part)
                piece = text(headers[name])
            else:
                if name not in fields:
                    return _missing(part)
                piece = self._scalar_text(fields[name])
            if piece is None:
                fault = "is not UTF-8" if origin is Origin.HEADER else "is neither text nor integer"
                return Unreadable(UnreadableReason.WRONG_SHAPE, f"{origin} `{name}` {fault}")
            found += piece
        return found

    def _scalar_text(self, content: msgspec.Raw) -> str | None:
        try:
            return str(self._scalar.decode(content))
        except ValueError:  # another type, or a text with half a surrogate pair
            return None


def _missing(part: Placeholder) -> Unreadable:
    return Unreadable(UnreadableReason.WRONG_SHAPE, f"{part.origin} `{part.name}` is missing")
