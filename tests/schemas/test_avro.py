import io
import json
import random
import struct
from base64 import b64decode
from contextlib import suppress
from decimal import Decimal
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.schemas.avro import AvroSchema
from gateway.schemas.avro_logical import MAX_DECIMAL_BYTES, MAX_SCALE
from gateway.schemas.errors import InvalidSchema, Malformed, TooLarge
from tests.schemas.java_shows import shown_by_java

MOST = 1_200_000

DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}

ORDER = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "count", "type": "int"},
        {"name": "serial", "type": "long"},
        {"name": "ratio", "type": "float"},
        {"name": "exact", "type": "double"},
        {"name": "paid", "type": "boolean"},
        {"name": "nothing", "type": "null"},
        {"name": "raw", "type": "bytes"},
        {"name": "pair", "type": {"type": "fixed", "name": "Pair", "size": 2}},
        {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["NEW", "DONE"]}},
        {"name": "before", "type": ["null", "State"]},
        {"name": "total", "type": DECIMAL},
        {
            "name": "tax",
            "type": {
                "type": "fixed",
                "name": "Tax",
                "size": 6,
                "logicalType": "decimal",
                "precision": 14,
                "scale": 4,
            },
        },
        {
            "name": "either",
            "type": ["null", "string", "long", DECIMAL, {"type": "map", "values": "int"}],
        },
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "prices", "type": {"type": "map", "values": DECIMAL}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "clock", "type": {"type": "int", "logicalType": "time-millis"}},
        {"name": "fine", "type": {"type": "long", "logicalType": "time-micros"}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "then", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "nano", "type": {"type": "long", "logicalType": "timestamp-nanos"}},
        {"name": "here", "type": {"type": "long", "logicalType": "local-timestamp-millis"}},
        {"name": "there", "type": {"type": "long", "logicalType": "local-timestamp-micros"}},
        {"name": "key", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "next", "type": ["null", "Order"]},
        {
            "name": "inner",
            "type": {
                "type": "record",
                "name": "other.Inner",
                "fields": [
                    {"name": "state", "type": "shop.State"},
                    {"name": "seen", "type": ["null", {"type": "array", "items": "Inner"}]},
                ],
            },
        },
    ],
}
"""A field of every type, with names in two namespaces, and a type that contains itself."""


def raw(schema: Any) -> Any:
    """Return a schema without logical types, whose values a test can write as they are stored."""
    if isinstance(schema, dict):
        return {name: raw(each) for name, each in schema.items() if name != "logicalType"}
    return [raw(each) for each in schema] if isinstance(schema, list) else schema


def written(schema: Any, value: Any) -> bytes:
    """Return the value as fastavro writes it."""
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(raw(schema)), value)
    return buffer.getvalue()


def show(schema: Any, value: bytes, most: int = MOST) -> Any:
    return json.loads(AvroSchema(json.dumps(schema)).json(value, most))


def an_order(random_: random.Random, depth: int = 2) -> dict[str, Any]:
    """Return a random order, as it is stored: logical types are numbers and bytes."""

    def unscaled() -> bytes:
        return random_.randint(-(10**12), 10**12).to_bytes(6, "big", signed=True)

    def word() -> str:
        return "".join(random_.choice('aé🙂"\\\n\x00') for _ in range(random_.randrange(6)))

    second = random_.randrange(-62_000_000_000, 250_000_000_000)
    part = random_.choice([0, 5, 120, 999])
    return {
        "id": word(),
        "count": random_.choice([0, -1, 2**31 - 1, -(2**31), random_.randrange(1000)]),
        "serial": random_.choice([0, 2**63 - 1, -(2**63), 2**53 + 1]),
        "ratio": struct.unpack("<f", struct.pack("<f", random_.uniform(-1e6, 1e6)))[0],
        "exact": random_.choice([0.1, -2.5e-300, 1e300, random_.random()]),
        "paid": random_.random() < 0.5,
        "nothing": None,
        "raw": random_.randbytes(random_.randrange(5)),
        "pair": random_.randbytes(2),
        "state": random_.choice(["NEW", "DONE"]),
        "before": random_.choice([None, "NEW", "DONE"]),
        "total": unscaled(),
        "tax": unscaled(),
        "either": random_.choice([None, word(), 2**60, unscaled(), {word(): 1, "b": -2}]),
        "tags": [word() for _ in range(random_.randrange(4))],
        "prices": {word(): unscaled() for _ in range(random_.randrange(3))},
        "day": random_.randrange(-700_000, 2_900_000),
        "clock": random_.randrange(86_400_000),
        "fine": random_.randrange(86_400) * 1_000_000 + random_.choice([0, 1000, 1, 999_999]),
        "at": second * 1000 + part,
        "then": second * 1_000_000 + random_.choice([0, 1, 1000, 999_999]),
        "nano": random_.randrange(-(2**62), 2**62),
        "here": second * 1000 + part,
        "there": second * 1_000_000 + part,
        "key": "01234567-89ab-cdef-0123-456789abcdef",
        "next": an_order(random_, depth - 1) if depth and random_.random() < 0.5 else None,
        "inner": {
            "state": "DONE",
            "seen": random_.choice([None, [{"state": "NEW", "seen": None}]]),
        },
    }


def java_form(name: str, value: Any) -> Any:
    """Return a field as Java's `GenericData` shows it, as far as that differs from ours."""
    match name, value:
        case "raw", str():
            return b64decode(value).decode("latin-1")
        case "pair", str():
            return [each - 256 if each > 127 else each for each in b64decode(value)]
        case (("total" | "tax"), str()):
            return Decimal(value)
        case "prices", dict():
            return {key: Decimal(each) for key, each in value.items()}
        case "next", dict():
            return {each: java_form(each, found) for each, found in value.items()}
        # Java leaves out seconds and fractions that are 0, and shows fractions as shortest.
        case (("clock" | "fine" | "here" | "there"), str()):
            return value.removesuffix(":00")
    return value


def test_every_type_is_shown_as_javas_avro_shows_it() -> None:
    random_ = random.Random(7)
    values = [written(ORDER, an_order(random_)) for _ in range(200)]
    schema = json.dumps(ORDER)
    theirs = shown_by_java([("avro", schema.encode(), value) for value in values])
    compiled = AvroSchema(schema)
    for value, line in zip(values, theirs, strict=True):
        found = json.loads(compiled.json(value, MOST), parse_float=Decimal)
        for order in (found, found["next"] or {}, (found["next"] or {}).get("next") or {}):
            if isinstance(order.get("either"), str) and order["either"][-3:-2] == ".":
                order["either"] = Decimal(order["either"])  # the branch with a decimal
        assert java_form("next", found) == json.loads(line, parse_float=Decimal)


def test_values_are_read_as_fastavro_reads_them() -> None:
    random_ = random.Random(8)
    schema = raw(ORDER)
    compiled, theirs = AvroSchema(json.dumps(schema)), fastavro.parse_schema(schema)
    for _ in range(300):
        value = written(schema, an_order(random_))
        read = fastavro.schemaless_reader(io.BytesIO(value), theirs, None)
        source = compiled.read(value, MOST)
        assert repr(source) == repr(_short_floats(read))


def _short_floats(read: Any) -> Any:
    """Return what fastavro read, with `ratio` in its shortest form; fastavro pads it with bits."""
    if isinstance(read, dict) and "ratio" in read:
        short = next(
            float(text)
            for digits in range(6, 10)
            if struct.pack("<f", float(text := f"{read['ratio']:.{digits}g}"))
            == struct.pack("<f", read["ratio"])
        )
        return {**read, "ratio": short, "next": _short_floats(read["next"])}
    return read


@pytest.mark.parametrize(
    ("schema", "value", "shown"),
    [
        ("float", struct.pack("<f", 0.1), 0.1),
        ("float", struct.pack("<f", 3.4028234663852886e38), 3.4028235e38),
        ("float", struct.pack("<f", float("nan")), "NaN"),
        ("double", struct.pack("<d", float("inf")), "Infinity"),
        ("double", struct.pack("<d", float("-inf")), "-Infinity"),
        ("bytes", b"\x04\xff\x00", "/wA="),
        ({"type": {"type": "int"}}, b"\x01", -1),
        ({"type": "int", "logicalType": "date"}, b"\x00", "1970-01-01"),
        ({"type": "int", "logicalType": "date"}, b"\xfe\xff\xff\xff\x0f", 2**31 - 1),
        ({"type": "int", "logicalType": "time-millis"}, b"\x01", -1),
        (
            {"type": "long", "logicalType": "timestamp-millis"},
            b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            2**63 - 1,
        ),
        ({"type": "long", "logicalType": "timestamp-millis"}, b"\x01", "1969-12-31T23:59:59.999Z"),
        ({"type": "string", "logicalType": "timestamp-millis"}, b"\x02x", "x"),
        ({"type": "long", "logicalType": "unknown"}, b"\x02", 1),
        ({**DECIMAL, "scale": 0}, b"\x02\x80", "-128"),
        (DECIMAL, b"\x02\x05", "0.05"),
        (DECIMAL, b"\x02\xfb", "-0.05"),
        (DECIMAL, b"\x00", "0.00"),
        ({**DECIMAL, "scale": 30}, b"\x02\x05", "BQ=="),
        ({**DECIMAL, "precision": "x"}, b"\x02\x05", "BQ=="),
        (
            {"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"},
            bytes(range(16)),
            "00010203-0405-0607-0809-0a0b0c0d0e0f",
        ),
        ({"type": "array", "items": "int"}, b"\x03\x04\x02\x04\x02\x06\x00", [1, 2, 3]),
        ({"type": "map", "values": "int"}, b"\x01\x06\x02a\x02\x00", {"a": 1}),
    ],
)
def test_value_is_shown_as_documented(schema: Any, value: bytes, shown: Any) -> None:
    assert show(schema, value) == shown


def test_references_are_known_by_their_names() -> None:
    inner = {"type": "enum", "name": "E", "namespace": "a.b", "symbols": ["X", "Y"]}
    outer = {"type": "record", "name": "R", "fields": [{"name": "e", "type": "a.b.E"}]}
    compiled = AvroSchema(json.dumps(outer), [json.dumps(inner)])
    assert compiled.json(b"\x02", MOST) == b'{"e":"Y"}'


def test_name_without_namespace_is_found_from_inside_one() -> None:
    inner = {"type": "fixed", "name": "F", "size": 1}
    outer = {
        "type": "record",
        "name": "n.R",
        "fields": [{"name": "f", "type": "F"}, {"name": "i", "type": "int"}],
    }
    assert AvroSchema(json.dumps(outer), [json.dumps(inner)]).json(b"a\x02", MOST) == (
        b'{"f":"YQ==","i":1}'
    )


LIST = {"type": "record", "name": "L", "fields": [{"name": "n", "type": ["null", "L"]}]}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ("int", b""),
        ("int", b"\x80"),
        ("int", b"\x80\x80\x80\x80\x20"),
        ("long", b"\xff" * 9 + b"\x02"),
        ("long", b"\xff" * 20),
        ("int", b"\x02\x02"),
        ("boolean", b"\x02"),
        ("string", b"\x10a"),
        ("string", b"\x01a"),
        ("string", b"\x02\xff"),
        ("bytes", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        ("double", b"1234567"),
        (["null", "int"], b"\x04"),
        (["null", "int"], b"\x01"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x02"),
        ({"type": "array", "items": "int"}, b"\x04\x02"),
        (DECIMAL, b"\x82\x04" + bytes(MAX_DECIMAL_BYTES + 1)),
    ],
)
def test_value_that_does_not_match_is_malformed(schema: Any, value: bytes) -> None:
    with pytest.raises(Malformed):
        show(schema, value)


def test_value_that_grows_is_too_large_before_it_is_built() -> None:
    most = b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"  # the most items that a count can say
    with pytest.raises(TooLarge):
        show({"type": "array", "items": "null"}, most)
    with pytest.raises(TooLarge):
        show({"type": "array", "items": {"type": "record", "name": "R", "fields": []}}, most)
    long = {"type": "enum", "name": "E", "symbols": ["A" * 1000]}
    with pytest.raises(TooLarge):
        show({"type": "array", "items": long}, b"\x80\x20" + bytes(2048) + b"\x00", 100_000)
    small = {"type": "bytes", "logicalType": "decimal", "precision": 1000, "scale": MAX_SCALE}
    with pytest.raises(TooLarge):
        show({"type": "array", "items": small}, b"\x80\x20" + bytes(2048) + b"\x00", 1_000_000)


@pytest.mark.parametrize("depth", [5000, 600_000])
def test_deep_value_is_an_error_and_not_the_end_of_the_process(depth: int) -> None:
    with pytest.raises(RecursionError):
        show(LIST, b"\x02" * depth + b"\x00")


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_malformed(value: bytes) -> None:
    with suppress(Malformed, TooLarge):
        show(ORDER, value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "1",
        "{}",
        '"Unknown"',
        '{"type":"record","name":"R"}',
        '{"type":"record","name":"R","fields":[{"name":"a"}]}',
        '{"type":"record","fields":[]}',
        '{"type":"record","name":1,"fields":[]}',
        '{"type":"enum","name":"E","symbols":[1]}',
        '{"type":"fixed","name":"F","size":-1}',
        '{"type":"array"}',
        '{"type":"bytes","logicalType":"decimal","precision":9999999999,"scale":1001}',
        "[" * 100_000,
        '["null",' * 5000 + '"int"' + "]" * 5000,
    ],
)
def test_broken_schema_is_invalid(text: str) -> None:
    with pytest.raises(InvalidSchema):
        AvroSchema(text)
