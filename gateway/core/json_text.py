"""JSON text: parsed without a change of the bytes that are passed on."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from gateway.core.records import Unreadable, UnreadableReason

ShapeT = TypeVar("ShapeT")

_SCHEMA_HEAD = 5
"""Bytes of the wire format of schema registries: 0, then a schema id of 4 bytes."""

_BOM = b"\xef\xbb\xbf"

# Alternatives in this order: a whole surrogate pair, one half of a pair, any other escape.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|u(?P<half>[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)

_HALF_MARK = b"\xff"
"""Stands for `\\u` in front of half a surrogate pair; no UTF-8 text holds this byte."""


def parse(decoder: msgspec.json.Decoder[ShapeT], value: bytes) -> ShapeT | Unreadable:
    """Return the JSON object in `value`, or why it cannot be parsed.

    Retries with two things repaired that other JSON parsers accept and msgspec rejects: a byte
    order mark, and half a surrogate pair, which `JSON.stringify` writes for a text that was cut
    between the two halves.
    """
    found = _decoded(decoder, value)
    if isinstance(found, Unreadable) and found.reason is UnreadableReason.NOT_JSON:
        repaired = _repaired(value)
        if repaired != value:
            found = _decoded(decoder, repaired)
    return found


def _decoded(decoder: msgspec.json.Decoder[ShapeT], value: bytes) -> ShapeT | Unreadable:
    try:
        return decoder.decode(value)
    except msgspec.ValidationError as error:
        return Unreadable(UnreadableReason.WRONG_SHAPE, str(error))
    except RecursionError:
        return Unreadable(UnreadableReason.TOO_DEEP)
    except ValueError as error:  # msgspec's own, and UnicodeDecodeError from inside a string
        return Unreadable(UnreadableReason.NOT_JSON, _not_json(value, error))


def _repaired(value: bytes) -> bytes:
    """Return `value` without a byte order mark, and with half surrogate pairs marked."""
    value = value.removeprefix(_BOM)
    return value if _HALF_MARK in value else _ESCAPE.sub(_mark_half, value)


def _mark_half(escape: re.Match[bytes]) -> bytes:
    half = escape["half"]
    return escape[0] if half is None else _HALF_MARK + half


def restored(data: msgspec.Raw, value: bytes) -> bytes:
    r"""Return the payload as written in `value`: marks are replaced by `\u`."""
    payload = bytes(data)
    if payload.isascii() or _HALF_MARK in value:
        return payload
    return payload.replace(_HALF_MARK, b"\\u")


def _not_json(value: bytes, error: ValueError) -> str:
    """Return why `value` is not JSON; detects the wire format of schema registries."""
    if value.startswith(b"\0") and len(value) > _SCHEMA_HEAD:
        schema = int.from_bytes(value[1:_SCHEMA_HEAD], "big")
        return f"the value is not JSON but written with a schema registry: schema id {schema}"
    return str(error)


def text(value: bytes) -> str | None:
    """Return the text in UTF-8 bytes; None if they are not UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None
