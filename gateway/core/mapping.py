"""Record mapping: how a record of any form becomes an event.

A template is text with placeholders: `{header:NAME}` is a header of the record, `{field:NAME}` a
top-level field of its value, which is then a JSON object.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

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

    @classmethod
    def parse(cls, text: str) -> Template:
        """Return the template in `text`. Raises `ValueError` with cause and remedy."""
        parts: list[str | Placeholder] = []
        # `split` returns literal text, kind and name of a placeholder, literal text, and so on.
        pieces = _PLACEHOLDER.split(text)
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
        return cls(text, tuple(parts))


class RecordMapping(NamedTuple):
    """How the records of a source become events."""

    type: Template
    category: Template | None = None
    """None: the category that the registry has for the type."""
    data: str | None = None
    """The top-level field of the value that is the payload; None: the whole value."""
