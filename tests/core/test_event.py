from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import frame
from gateway.core.event import MAX_RECORD_BYTES, Decoder, type_fault
from gateway.core.records import Event, Record, Unreadable, UnreadableReason, make_record
from gateway.core.registry import Registry
from tests.core.payloads import as_text, hostile
from tests.sse import EventStreamParser

STRUCTURED = ("content-type", b"application/cloudevents+json")
BINARY = ("ce_specversion", b"1.0")

decoder = Decoder(Registry.built_in())

good_types = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=60
).filter(lambda text: type_fault(text) is None)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def record(
    value: bytes | None, *headers: tuple[str, bytes], key: bytes | None = b"alice"
) -> Record:
    return make_record(7, 1_700_000_000_000, key, value, headers)


def envelope(**fields: object) -> bytes:
    return json.dumps({"event_type": "ai.response.chunk", "data": {"n": 1}} | fields).encode()


def cloud_event(**fields: object) -> bytes:
    return json.dumps({"specversion": "1.0", "type": "ai.response.chunk"} | fields).encode()


def arrives(event: Event | Unreadable) -> tuple[str, str]:
    assert isinstance(event, Event), event
    parser = EventStreamParser()
    (received,) = parser.feed(frame.id_line(b"1abc") + event.body)
    assert (received.last_event_id, parser.retry, parser.comments) == ("1abc", None, [])
    return received.type, received.data


@pytest.mark.parametrize(
    ("written", "event_type", "category", "data"),
    [
        (record(envelope()), "ai.response.chunk", "ai", '{"n": 1}'),
        (record(envelope(user_id="alice", event_id="e1", occurred_at="2026-01-01T00:00:00Z")),
         "ai.response.chunk", "ai", '{"n": 1}'),
        (record(envelope(user_id=None, event_id=None, occurred_at=None)),
         "ai.response.chunk", "ai", '{"n": 1}'),
        (record(envelope(user_id=42, occurred_at=1.5), key=b"42"),
         "ai.response.chunk", "ai", '{"n": 1}'),
        (record(envelope(event_type="order.paid", more=[1])), "order.paid", None, '{"n": 1}'),
        (record(b'{"data": [1 ,\t2.50, 1e2] , "event_type":"x"}'), "x", None, "[1 ,\t2.50, 1e2]"),
        (record(b'{"data":{"a":\r\n 1},"event_type":"x"}'), "x", None, '{"a":\n 1}'),
        (record(b'{"data":null,"event_type":"x"}'), "x", None, "null"),
        (record(b'{"data":"","event_type":"x"}'), "x", None, '""'),
        (record(b'{"data":1,"event_type":"x","data":2}'), "x", None, "2"),
        (record(b'{"data":"\xff","event_type":"x"}'), "x", None, '"\ufffd"'),
        (record(b'{"data":' + b"9" * 5000 + b',"event_type":"x"}'), "x", None, "9" * 5000),
        (record(envelope(), ("category", b"vip")), "ai.response.chunk", "vip", '{"n": 1}'),
        (record(envelope(), ("category", b"")), "ai.response.chunk", "ai", '{"n": 1}'),
        (record(envelope(), ("trace", b"\xff")), "ai.response.chunk", "ai", '{"n": 1}'),
        (record(b"not json", ("event_type", b"import.started")),
         "import.started", "import", "not json"),
        (record(b"1", ("Event_Type", b"a"), ("event_type", b"b")), "b", None, "1"),
        (record(b"1", ("event_type", "größe 2".encode()), ("category", "größe".encode())),
         "größe 2", "größe", "1"),
        (record(b"1", ("event_type", b"x" * 255)), "x" * 255, None, "1"),
        (record(b"raw", BINARY, ("ce_type", b"import.failed")), "import.failed", "import", "raw"),
        (record(b"raw", ("CE_SpecVersion", b"1.0"), ("CE_Type", b"x"), ("event_type", b"y"),
                ("Content-Type", b"text/plain")), "x", None, "raw"),
        (record(b"raw", BINARY, ("ce_type", b"x"), ("category", b"vip")), "x", "vip", "raw"),
        (record(cloud_event(data={"n": 1}), STRUCTURED), "ai.response.chunk", "ai", '{"n": 1}'),
        (record(cloud_event(data=None), STRUCTURED), "ai.response.chunk", "ai", "null"),
        (record(cloud_event(data=1, data_base64=None), STRUCTURED),
         "ai.response.chunk", "ai", "1"),
        (record(cloud_event(data_base64="aMOp"), STRUCTURED), "ai.response.chunk", "ai", "hé"),
        (record(cloud_event(data=1, id="1", source="/s", subject="bob"),
                ("Content-Type", b"Application/CloudEvents+JSON; charset=UTF-8")),
         "ai.response.chunk", "ai", "1"),
    ],
)  # fmt: skip
def test_a_record_is_decoded(
    written: Record, event_type: str, category: str | None, data: str
) -> None:
    event = decoder.decode(written, keyed=True)
    assert arrives(event) == (event_type, data)
    assert isinstance(event, Event)
    assert (event.event_type, event.category) == (event_type, category)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (record(None), "empty"),
        (record(b""), "empty"),
        (record(b"", ("event_type", b"x")), "empty"),
        (record(cloud_event(), STRUCTURED), "empty"),
        (record(cloud_event(data_base64=""), STRUCTURED), "empty"),
        (record(envelope(), key=None), "no_key"),
        (record(envelope(), key=b""), "no_key"),
        (record(envelope(), key=b"\xff"), "key_not_utf8"),
        (record(envelope(data="x" * MAX_RECORD_BYTES)), "too_large"),
        (record(b"{}", *[("event_type", b"x")] * 10_000), "too_large"),
        (record(b"hello"), "not_json"),
        (record(b"\xef\xbb\xbf\xef\xbb\xbf" + envelope()), "not_json"),
        (record(b'{"event_type":"x","data":"\\ud83d\xff"}'), "not_json"),
        (record(envelope() + b"x"), "not_json"),
        (record(envelope()[:-1]), "not_json"),
        (record(envelope().decode().encode("utf-16")), "not_json"),
        (record(b'{"event_type":"x","data":NaN}'), "not_json"),
        (record(b'{"event_type":"x","data":01}'), "not_json"),
        (record(b'{"event_type":"x","data":"\n"}'), "not_json"),
        (record(b'{"event_type":"\xff","data":1}'), "not_json"),
        (record(b'{"event_type":"\\ud800","data":1}'), "not_json"),
        (record(b'{"event_type":"x","data":1,"user_id":"\\udc00"}'), "not_json"),
        (record(b"\x00" * 50), "not_json"),
        (record(b'{"event_type":"x","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "too_deep"),
        (record(b'{"x":' * 100_000), "too_deep"),
        (record(b"[" * 100_000), "wrong_shape"),
        (record(b"null"), "wrong_shape"),
        (record(b"[]"), "wrong_shape"),
        (record(b"{}"), "wrong_shape"),
        (record(b'{"data":1}'), "wrong_shape"),
        (record(b'{"event_type":"x"}'), "wrong_shape"),
        (record(envelope(event_type=None)), "wrong_shape"),
        (record(envelope(event_type=7)), "wrong_shape"),
        (record(envelope(user_id=True)), "wrong_shape"),
        (record(envelope(user_id=["alice"])), "wrong_shape"),
        (record(b'{"event_type":"x","data":1,"user_id":' + b"9" * 5000 + b"}"), "wrong_shape"),
        (record(b"1", BINARY), "wrong_shape"),
        (record(b"1", ("ce_specversion", b"0.3"), ("ce_type", b"x")), "wrong_shape"),
        (record(cloud_event(data=1, specversion="0.3"), STRUCTURED), "wrong_shape"),
        (record(cloud_event(data=1, type=None), STRUCTURED), "wrong_shape"),
        (record(cloud_event(data=1, data_base64="aGk="), STRUCTURED), "wrong_shape"),
        (record(b"[]", STRUCTURED), "wrong_shape"),
        (record(b"[]", ("content-type", b"application/cloudevents-batch+json")), "wrong_shape"),
        (record(b"x", ("content-type", b"application/cloudevents+avro")), "wrong_shape"),
        (record(b"hello", STRUCTURED), "not_json"),
        (record(cloud_event(data_base64="aGk"), STRUCTURED), "bad_base64"),
        (record(cloud_event(data_base64="a Gk="), STRUCTURED), "bad_base64"),
        (record(cloud_event(data_base64="é"), STRUCTURED), "bad_base64"),
        (record(envelope(event_type="")), "bad_type"),
        (record(envelope(event_type="a\nid: 0")), "bad_type"),
        (record(envelope(event_type="a\rid: 0")), "bad_type"),
        (record(envelope(event_type="a\0")), "bad_type"),
        (record(envelope(event_type="a\x85b")), "bad_type"),
        (record(envelope(event_type="a\u2028b")), "bad_type"),
        (record(envelope(event_type="x" * 256)), "bad_type"),
        (record(envelope(event_type="é" * 128)), "bad_type"),
        (record(b"1", ("event_type", b"")), "bad_type"),
        (record(b"1", ("event_type", b"\xff")), "bad_type"),
        (record(b"1", BINARY, ("ce_type", b"\xff")), "bad_type"),
        (record(cloud_event(type="", data=1), STRUCTURED), "bad_type"),
        (record(envelope(event_type="stream.gap")), "reserved_type"),
        (record(b"1", ("event_type", b"stream.")), "reserved_type"),
        (record(cloud_event(type="stream.close", data=1), STRUCTURED), "reserved_type"),
        (record(envelope(), ("category", b"\xff")), "bad_category"),
        (record(envelope(user_id="bob")), "user_mismatch"),
        (record(envelope(user_id="")), "user_mismatch"),
        (record(envelope(user_id=42)), "user_mismatch"),
        (record(envelope(user_id="bob"), ("trace", b"1")), "user_mismatch"),
    ],
)  # fmt: skip
def test_an_invalid_record_has_this_reason(written: Record, reason: str) -> None:
    unreadable = decoder.decode(written, keyed=True)
    assert isinstance(unreadable, Unreadable)
    assert unreadable.reason == UnreadableReason(reason)


@pytest.mark.parametrize(
    ("written", "detail"),
    [
        (record(b'{"data":1}'), "Object missing required field `event_type`"),
        (record(b'{"event_type":"x"}'), "Object missing required field `data`"),
        (record(envelope(event_type=7)), "Expected `str`, got `int` - at `$.event_type`"),
        (record(b"hello"), "JSON is malformed: invalid character (byte 0)"),
        (record(b"\x00\x00\x00\x00\x2a\x06abc"), "schema registry: schema id 42"),
        (record(b"1", BINARY), "header `ce_type` is missing"),
        (record(b"1", ("ce_specversion", b"0.3")), "header `ce_specversion` is not 1.0"),
        (record(b"1", ("event_type", b"\xff")), "header `event_type` is not UTF-8"),
        (record(b"1", ("event_type", b"")), "1 to 255 bytes"),
        (record(b"1", ("event_type", b"stream.x")), "begins with `stream.`"),
        (record(envelope(user_id="bob")), "`user_id` is not the record's key"),
        (record(cloud_event(data=1, specversion="0.3"), STRUCTURED), "`specversion` is not 1.0"),
        (record(cloud_event(data_base64="!"), STRUCTURED), "`data_base64` is not base64"),
    ],
)
def test_detail_names_the_invalid_field(written: Record, detail: str) -> None:
    unreadable = decoder.decode(written, keyed=True)
    assert isinstance(unreadable, Unreadable)
    assert detail in unreadable.detail


HALF = b'{"t":"Hi \\ud83d"}'


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (b'{"event_type":"x","data":' + HALF + b"}", HALF),
        (b'{"event_type":"x","data":"\\uDC00\\ud83d\\ude00\\\\ud83d\\n"}',
         b'"\\uDC00\\ud83d\\ude00\\\\ud83d\\n"'),
        (b'{"event_type":"x","data":"\xc3\xa9\\ud83d","more":"\\udead"}', b'"\xc3\xa9\\ud83d"'),
        (b'{"event_type":"x","data":{"\\ud83d\\ud83d\\ude00":1}}', b'{"\\ud83d\\ud83d\\ude00":1}'),
        (b'{"event_type":"x","data":1,"event_id":"\\ud83d"}', b"1"),
        (b"\xef\xbb\xbf" + b'{"event_type":"x","data":' + HALF + b"}", HALF),
        (b"\xef\xbb\xbf" + b'{"event_type":"x","data":1}', b"1"),
        (b'{"event_type":"x","data":1,"event_id":7}', b"1"),
        (b'{"event_type":"x","data":1,"event_id":{"a":[]},"occurred_at":1e999}', b"1"),
    ],
)  # fmt: skip
def test_json_that_msgspec_rejects_arrives_byte_for_byte(value: bytes, data: bytes) -> None:
    assert arrives(decoder.decode(record(value), keyed=True)) == ("x", data.decode())
    event = json.loads(value.decode("utf-8-sig").replace("event_type", "type"))
    structured = value.replace(b'"event_type":"x"', b'"specversion":"1.0","type":"x"')
    assert event["type"] == "x"
    assert arrives(decoder.decode(record(structured, STRUCTURED), keyed=True)) == (
        "x",
        data.decode(),
    )


texts = st.text() | st.text(st.characters(categories=["Cs"]) | st.characters())


@pytest.mark.no_cover
@given(st.recursive(texts, lambda inner: st.dictionaries(texts, inner) | st.lists(inner)))
def test_any_ascii_json_arrives_byte_for_byte(data: object) -> None:
    payload = json.dumps(data)
    written = record(f'{{"event_type":"x","data":{payload}}}'.encode())
    assert arrives(decoder.decode(written, keyed=True)) == ("x", payload)


@pytest.mark.parametrize("key", [None, b"", b"\xff", b"alice"])
def test_the_key_of_a_broadcast_is_ignored(key: bytes | None) -> None:
    event = decoder.decode(record(envelope(user_id="bob"), key=key), keyed=False)
    assert arrives(event) == ("ai.response.chunk", '{"n": 1}')


def test_a_decoder_uses_the_types_of_its_registry() -> None:
    other = Decoder(Registry.from_toml('[categories]\norders = ["order.paid"]'))
    paid = other.decode(record(envelope(event_type="order.paid")), keyed=True)
    chunk = other.decode(record(envelope()), keyed=True)
    assert isinstance(paid, Event)
    assert isinstance(chunk, Event)
    assert (paid.category, chunk.category) == ("orders", None)


@pytest.mark.parametrize(
    ("event_type", "fault"),
    [
        ("order.paid", None),
        ("👩\u200d💻 done", None),
        ("streams", None),
        ("", UnreadableReason.BAD_TYPE),
        ("\ud800", UnreadableReason.BAD_TYPE),
        ("a\x7f", UnreadableReason.BAD_TYPE),
        ("stream.x", UnreadableReason.RESERVED_TYPE),
    ],
)
def test_a_publisher_can_validate_a_type_before_sending(
    event_type: str, fault: UnreadableReason | None
) -> None:
    assert type_fault(event_type) is fault


@given(good_types, json_values, st.sampled_from(["envelope", "structured"]))
def test_json_arrives_byte_for_byte(event_type: str, data: object, shape: str) -> None:
    payload = json.dumps(data, ensure_ascii=False)
    name = json.dumps(event_type)
    if shape == "envelope":
        written = record(f'{{"event_type":{name},"data": {payload} }}'.encode())
    else:
        written = record(
            f'{{"specversion":"1.0","data": {payload},"type":{name}}}'.encode(), STRUCTURED
        )
    assert arrives(decoder.decode(written, keyed=True)) == (event_type, payload)


@given(good_types, hostile.filter(bool), st.sampled_from(["headers", "binary", "base64"]))
def test_any_bytes_arrive_unchanged_except_line_breaks(
    event_type: str, payload: bytes, shape: str
) -> None:
    if shape == "headers":
        written = record(payload, ("event_type", event_type.encode()))
    elif shape == "binary":
        written = record(payload, BINARY, ("ce_type", event_type.encode()))
    else:
        text = base64.b64encode(payload).decode()
        written = record(cloud_event(type=event_type, data_base64=text), STRUCTURED)
    assert arrives(decoder.decode(written, keyed=True)) == (event_type, as_text(payload))


pieces = st.sampled_from(
    [b"{", b"}", b"[", b"]", b":", b",", b'"event_type"', b'"data"', b'"user_id"', b'"specversion"',
     b'"type"', b'"data_base64"', b'"1.0"', b'"x"', b'"stream.x"', b'"\\ud800"', b"1e999", b"-0",
     b"null", b"NaN", b'"alice"', b" ", b"\n"]
)  # fmt: skip
values = (
    st.none()
    | st.binary()
    | hostile
    | st.lists(pieces | st.binary(max_size=3)).map(b"".join)
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(
        st.sampled_from(["event_type", "data", "user_id", "type", "data_base64", "specversion"]),
        json_values,
    ).map(lambda value: json.dumps(value).encode())
)
names = st.text() | st.sampled_from(
    ["event_type", "category", "content-type", "ce_type", "ce_specversion", "Content-Type"]
)
header_values = hostile | st.sampled_from([b"1.0", STRUCTURED[1], b"application/cloudevents"])


@given(
    values,
    st.lists(st.tuples(names, header_values), max_size=4),
    st.none() | st.binary(),
    st.booleans(),
)
def test_decode_never_raises_and_no_payload_injects_a_field(
    value: bytes | None, headers: list[tuple[str, bytes]], key: bytes | None, keyed: bool
) -> None:
    event = decoder.decode(record(value, *headers, key=key), keyed=keyed)
    if isinstance(event, Event):
        assert arrives(event)[0] == event.event_type
        assert not event.event_type.startswith("stream.")
