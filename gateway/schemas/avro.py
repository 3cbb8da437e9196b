"""Avro: compile a schema into a function that reads binary values (Avro 1.12).

A schema becomes nested closures, one for each type, that return Python objects for `json`:

    Avro                            | JSON
    --------------------------------+-----------------------------------------------------------
    null, boolean, string           | the same
    int, long                       | number; all digits of a long
    float, double                   | number, the shortest that reads back as the same value;
                                    | "NaN", "Infinity", "-Infinity"
    bytes, fixed                    | base64
    enum                            | the symbol
    array; map, record              | array; object
    union                           | the value of its branch, without the branch's name
    decimal                         | text with all digits of its scale: "12.50"
    uuid                            | text
    date                            | "2026-11-29"
    time-millis, -micros            | "23:59:59.123"
    timestamp-millis, -micros,      | "2026-11-29T23:59:59.123Z"; 0, 3, 6 or 9 digits of a second
    -nanos                          |
    local-timestamp-…               | the same without Z
    a date or time beyond the years | the number
    1 to 9999, or beyond 24 hours   |
    any other logical type          | its underlying type

Values are untrusted: a count is accepted only if as many bytes remain, and the size of the output
is bounded while a value is read. Nesting is bounded by Python's recursion limit; native Avro
readers overflow the C stack on a deeply nested value, which ends the process.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.schemas.avro_input import Input
from gateway.schemas.avro_logical import logical_type
from gateway.schemas.errors import InvalidSchema, Malformed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Read = Callable[[Input], object]

_PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")


class AvroSchema:
    """A compiled schema."""

    def __init__(self, text: str, references: Sequence[str] = ()) -> None:
        """Compile the schema in `text`; `references` are the schemas that it names, in order.

        Raises `InvalidSchema`.
        """
        names = _Names()
        try:
            for each in references:
                names.compile(msgspec.json.decode(each), "")
            self._read = names.compile(msgspec.json.decode(text), "")
        except RecursionError:
            raise InvalidSchema("the schema is nested too deeply") from None
        except (msgspec.DecodeError, ValueError) as error:
            raise InvalidSchema(f"the schema is not JSON: {error}") from None

    def json(self, payload: bytes, most: int) -> bytes:
        """Return a binary value as JSON of about `most` bytes at most; raises as `read`."""
        return msgspec.json.encode(self.read(payload, most))

    def read(self, payload: bytes, most: int) -> object:
        """Return a binary value as Python objects, of which `msgspec` makes the JSON.

        Raises `Malformed`, `TooLarge`, and `RecursionError` for a value that is nested too deeply.
        """
        source = Input(payload, most)
        try:
            value = self._read(source)
        except IndexError:
            raise Malformed("the value ends early") from None
        except UnicodeDecodeError:
            raise Malformed("a text is not UTF-8") from None
        if source.at < len(payload):
            raise Malformed(f"{len(payload) - source.at} bytes follow the value")
        return value


class _Names:
    """The named types that are known while schemas are compiled."""

    def __init__(self) -> None:
        self._types: dict[str, Read] = {name: globals()[f"_{name}"] for name in _PRIMITIVES}

    def compile(self, schema: Any, space: str) -> Read:
        """Return the reader of a type; `space` is the namespace around it."""
        match schema:
            case str():
                return self._named(schema, space)
            case list():
                return _union([self.compile(branch, space) for branch in schema])
            case {"type": "record" | "error", "fields": list(fields)}:
                return self._record(schema, fields, space)
            case {"type": "enum", "symbols": list(symbols)}:
                return self._define(schema, space, _enum([_text(each) for each in symbols]))[0]
            case {"type": "fixed", "size": int(size)} if size >= 0:
                return self._define(schema, space, _logical(_fixed(size), "fixed", schema))[0]
            case {"type": "array", "items": items}:
                return _array(self.compile(items, space))
            case {"type": "map", "values": values}:
                return _map(self.compile(values, space))
            case {"type": str(name)} if name in _PRIMITIVES:
                return _logical(self._types[name], name, schema)
            case {"type": dict() | list() | str() as inner} if inner not in _COMPLEX:
                return self.compile(inner, space)
        raise InvalidSchema(f"the schema has an invalid type: {str(schema)[:100]}")

    def _named(self, name: str, space: str) -> Read:
        # As in Java, a name that its own namespace lacks is one without a namespace.
        full = f"{space}.{name}" if space and "." not in name else name
        found = (name not in _PRIMITIVES and self._types.get(full)) or self._types.get(name)
        if found is None:
            raise InvalidSchema(f"the schema names the type {full[:200]}, which is not defined")
        return found

    def _define(self, schema: dict[str, Any], space: str, read: Read) -> tuple[Read, str]:
        """Add a named type; return it and the namespace inside it."""
        name = _text(schema.get("name"))
        inside, _, short = name.rpartition(".")
        inside = inside or _text(schema.get("namespace") or space or "")
        self._types[f"{inside}.{short}" if inside else short] = read
        return read, inside

    def _record(self, schema: dict[str, Any], fields: list[Any], space: str) -> Read:
        readers: list[tuple[str, Read]] = []
        cost = 2

        def read(source: Input) -> object:
            source.spend(cost)
            return {name: each(source) for name, each in readers}

        # Defined before its fields, which may refer to it.
        _, inside = self._define(schema, space, read)
        for field in fields:
            if not isinstance(field, dict) or "type" not in field:
                raise InvalidSchema("a field of a record has no type")
            name = _text(field.get("name"))
            cost += len(name) + 4
            readers.append((name, self.compile(field["type"], inside)))
        return read


_COMPLEX = ("record", "error", "enum", "fixed", "array", "map")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidSchema("a name in the schema is not text")
    return value


def _null(source: Input) -> None:
    del source


def _boolean(source: Input) -> bool:
    byte = source.data[source.at]
    if byte > 1:
        raise Malformed("a boolean is neither 0 nor 1")
    source.at += 1
    return byte == 1


def _int(source: Input) -> int:
    value = source.long()
    if not -0x8000_0000 <= value <= 0x7FFF_FFFF:
        raise Malformed("an int has more than 32 bits")
    return value


def _long(source: Input) -> int:
    return source.long()


def _float(source: Input) -> float | str:
    data = source.read(4)
    (value,) = struct.unpack("<f", data)
    if not math.isfinite(value):
        return _not_finite(value)
    for digits in range(6, 9):
        short = float(f"{value:.{digits}g}")
        try:
            if struct.pack("<f", short) == data:
                return short
        except OverflowError:  # rounded up beyond the largest float
            continue
    return float(f"{value:.9g}")


def _double(source: Input) -> float | str:
    (value,) = struct.unpack("<d", source.read(8))
    return value if math.isfinite(value) else _not_finite(value)


def _not_finite(value: float) -> str:
    if value != value:
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _bytes(source: Input) -> bytes:
    return source.read(source.long())


def _string(source: Input) -> str:
    return source.read(source.long()).decode()


def _fixed(size: int) -> Read:
    def read(source: Input) -> bytes:
        return source.read(size)

    return read


def _enum(symbols: list[str]) -> Read:
    def read(source: Input) -> str:
        index = source.long()
        if not 0 <= index < len(symbols):
            raise Malformed("an enum has no such symbol")
        source.spend(len(symbols[index]))
        return symbols[index]

    return read


def _union(branches: list[Read]) -> Read:
    def read(source: Input) -> object:
        index = source.long()
        if not 0 <= index < len(branches):
            raise Malformed("a union has no such branch")
        return branches[index](source)

    return read


def _block(source: Input) -> int:
    """Return the number of items in the next block of an array or map; 0 at its end."""
    count = source.long()
    if count < 0:
        count = -count
        source.long()  # the size of the block in bytes
    source.spend(2 * count)
    return count


def _array(item: Read) -> Read:
    def read(source: Input) -> list[object]:
        items: list[object] = []
        while count := _block(source):
            for _ in range(count):
                items.append(item(source))  # noqa: PERF401 -- a block may end the value early
        return items

    return read


def _map(value: Read) -> Read:
    def read(source: Input) -> dict[str, object]:
        entries: dict[str, object] = {}
        while count := _block(source):
            for _ in range(count):
                key = _string(source)
                entries[key] = value(source)
        return entries

    return read


def _logical(read: Read, type_: str, schema: dict[str, Any]) -> Read:
    """Return a reader of a type with its logical type, if that is valid for the type."""
    logical = logical_type(type_, schema)
    if logical is None:
        return read
    show, size = logical

    def read_logical(source: Input) -> object:
        source.spend(size)
        return show(read(source))

    return read_logical
