import asyncio
import json
import struct
from base64 import b64encode
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.message_factory import GetMessageClass

from gateway.schemas import protobuf
from gateway.schemas.errors import InvalidSchema, Malformed, TooLarge
from gateway.schemas.protobuf import MAIN, ProtobufSchema, compile_schema
from tests.schemas.java_shows import shown_by_java

MOST = 1_200_000

ORDER = """
syntax = "proto3";
package shop.v1;

import "confluent/meta.proto";
import "confluent/type/decimal.proto";
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "google/type/money.proto";
import "parts/line.proto";

enum State { UNKNOWN = 0; DONE = 3; }

message Order {
  map<string, int64> numbers = 1;
  message Buyer { string full_name = 1; message Deep { bool yes = 1; } }
  Buyer buyer = 2;
  int32 small = 3;
  int64 large = 4 [(confluent.field_meta).doc = "a serial number"];
  fixed64 fixed = 5;
  sint64 signed = 6;
  float ratio = 7;
  double exact = 8;
  bytes raw = 9;
  State state = 10;
  oneof either { string text = 11; uint64 number = 12; Buyer person = 13; }
  optional int32 maybe = 14;
  repeated State states = 15;
  map<int32, parts.Line> lines = 16;
  google.protobuf.Timestamp at = 17;
  google.protobuf.Duration took = 18;
  google.protobuf.Struct more = 19;
  google.protobuf.Int64Value wrapped = 20;
  google.protobuf.Any any = 21;
  google.type.Money price = 22;
  confluent.type.Decimal total = 23;
  string renamed = 24 [json_name = "Other-Name"];
}

message Second { Order order = 1; }
"""

LINE = 'syntax = "proto3"; package parts; message Line { string item_no = 1; uint32 count = 2; }'

REFERENCES = {"parts/line.proto": LINE}


@pytest.fixture(scope="module")
def order() -> ProtobufSchema:
    return asyncio.run(compile_schema(ORDER, REFERENCES))


def new(schema: ProtobufSchema, name: str) -> Any:
    return GetMessageClass(schema.pool.FindMessageTypeByName(name))()


def orders(schema: ProtobufSchema) -> list[Any]:
    """Return messages that use every field, with values at the borders of their types."""
    empty, full, odd = (new(schema, "shop.v1.Order") for _ in range(3))
    full.numbers["é🙂"] = 2**63 - 1
    full.buyer.full_name = "Ada\n\u2028"
    full.small, full.large, full.fixed, full.signed = -(2**31), -(2**63), 2**64 - 1, -1
    full.ratio, full.exact, full.raw = 0.1, 1e-300, b"\xff\x00"
    full.state, full.maybe, full.text = 3, 0, ""
    full.states.extend([0, 3])
    full.lines[-5].item_no = "x"
    full.at.seconds, full.at.nanos = -62_135_596_800, 120_000_000
    full.took.seconds, full.took.nanos = -3, -1
    full.more.update({"a": [1.5, None, True, {"b": "c"}]})
    full.wrapped.value = 2**60
    buyer = new(schema, "shop.v1.Second")
    buyer.order.small = 4
    full.any.type_url, full.any.value = "x/shop.v1.Second", buyer.SerializeToString()
    full.price.units, full.total.value, full.renamed = 7, b"\x01\x00", "r"
    odd.ratio, odd.exact, odd.state, odd.number = float("inf"), float("nan"), 77, 2**64 - 1
    odd.at.nanos = 1
    return [empty, full, odd]


def test_every_type_is_shown_as_javas_protojson_shows_it(order: ProtobufSchema) -> None:
    files = FileDescriptorSet(file=order.files).SerializeToString()
    values = [message.SerializeToString() for message in orders(order)]
    rows: list[Any] = [("protobuf", files, b"shop.v1.Order", value) for value in values]
    theirs = shown_by_java(rows)
    for value, line in zip(values, theirs, strict=True):
        assert json.loads(order.json(value, (0,), MOST)) == json.loads(line)


def test_path_selects_the_message_type_and_does_not_count_maps(order: ProtobufSchema) -> None:
    second = new(order, "shop.v1.Second")
    second.order.small = 4
    shown = json.loads(order.json(second.SerializeToString(), (1,), MOST))
    assert shown["order"]["small"] == 4
    assert order.json(b"\n\1a", (0, 0), MOST) == b'{"fullName":"a"}'
    assert order.json(b"\x08\1", (0, 0, 0), MOST) == b'{"yes":true}'
    for path in [(2,), (0, 1), (-1,), (0, 0, 0, 0)]:
        with pytest.raises(Malformed):
            order.json(b"", path, MOST)


async def test_descriptors_in_base64_are_read_as_text_is(order: ProtobufSchema) -> None:
    files = {file.name: file for file in order.files}
    encoded = {
        name: b64encode(file.SerializeToString()).decode()
        for name, file in files.items()
        if name in {MAIN, "parts/line.proto"}
    }
    value = orders(order)[1].SerializeToString()
    for references in (REFERENCES, {"parts/line.proto": encoded["parts/line.proto"]}):
        schema = await compile_schema(encoded[MAIN], references)
        assert schema.json(value, (0,), MOST) == order.json(value, (0,), MOST)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("message {", "schema.proto:1"),
        ('syntax = "proto3"; message A { Missing a = 1; }', '"Missing" is not defined'),
        ('syntax = "proto3"; import "gone.proto";', "gone.proto"),
        ("", ""),
    ],
)
async def test_broken_schema_is_invalid_and_the_compiler_says_why(text: str, fault: str) -> None:
    if not text:  # an empty file is valid, and has no message types
        with pytest.raises(Malformed):
            (await compile_schema(text, {})).json(b"", (0,), MOST)
        return
    with pytest.raises(InvalidSchema, match=fault):
        await compile_schema(text, {})


@pytest.mark.parametrize("name", ["../up.proto", "/etc/x.proto", "a//b", "a/../b", "-I.", ""])
async def test_reference_cannot_leave_its_folder(name: str) -> None:
    with pytest.raises(InvalidSchema):
        await compile_schema('syntax = "proto3";', {name: LINE})


async def test_descriptor_that_imports_itself_is_invalid() -> None:
    file = FileDescriptorProto(name="a.proto", dependency=["b.proto"])
    other = FileDescriptorProto(name="b.proto", dependency=["a.proto"])
    main = b64encode(file.SerializeToString()).decode()
    with pytest.raises(InvalidSchema):
        await compile_schema(main, {"b.proto": b64encode(other.SerializeToString()).decode()})


async def test_compiler_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protobuf, "COMPILE_SECONDS", 0.001)
    with pytest.raises(InvalidSchema, match="not compiled within"):
        await compile_schema('syntax = "proto3";', {})


@pytest.mark.parametrize("value", [b"\xff", b"\x0a\x7f", b"\x12" * 40])
def test_value_that_is_not_a_message_is_malformed(order: ProtobufSchema, value: bytes) -> None:
    with pytest.raises(Malformed):
        order.json(value, (0,), MOST)


def test_message_without_json_is_malformed(order: ProtobufSchema) -> None:
    late = new(order, "shop.v1.Order")
    late.at.seconds = 10**12
    strange = new(order, "shop.v1.Order")
    strange.any.type_url = "x/unknown.Type"
    for message in (late, strange):
        with pytest.raises(Malformed, match="cannot be converted to JSON"):
            order.json(message.SerializeToString(), (0,), MOST)


def test_nesting_is_bounded_by_the_library() -> None:
    text = 'syntax = "proto3"; message A { A a = 1; }'
    schema = asyncio.run(compile_schema(text, {}))
    value = b""
    for _ in range(2000):
        size = len(value)
        head = bytes([size]) if size < 128 else struct.pack("BB", size & 127 | 128, size >> 7)
        value = b"\n" + head + value
    with pytest.raises(Malformed):
        schema.json(value, (0,), MOST)


def test_message_that_grows_is_too_large_before_it_is_built() -> None:
    fields = " ".join(
        f"int32 a_long_name_of_a_field_{number} = {number};" for number in range(1, 99)
    )
    text = f'syntax = "proto3"; message Many {{ {fields} }}'
    text += " message Box { repeated Many many = 1; map<string, Many> named = 2; Box box = 3; }"
    schema = asyncio.run(compile_schema(text, {}))
    with pytest.raises(TooLarge):
        schema.json(b"\n\0" * 500_000, (1,), MOST)
    with pytest.raises(TooLarge):
        schema.json(b"\n\0" * 500, (1,), 100_000)
    assert len(schema.json(b"\n\0" * 50, (1,), MOST)) > 50 * 98 * 20
