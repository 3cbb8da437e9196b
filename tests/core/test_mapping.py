from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import frame
from gateway.core.event import Decoder, type_fault
from gateway.core.mapping import Origin, Placeholder, RecordMapping, Template
from gateway.core.records import Event, LogKind, Unreadable, UnreadableReason, make_record
from gateway.core.registry import Registry
from gateway.core.source import KeyTemplate, Source

R = UnreadableReason
HEADER, FIELD = Origin.HEADER, Origin.FIELD


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("orders", ("orders",)),
        ("{header:kind}", (Placeholder(HEADER, "kind"),)),
        ("{header:Event-Kind}", (Placeholder(HEADER, "event-kind"),)),
        ("{field:Kind}", (Placeholder(FIELD, "Kind"),)),
        ("order.{header:kind}", ("order.", Placeholder(HEADER, "kind"))),
        ("{field:a b}{header:c}.x", (Placeholder(FIELD, "a b"), Placeholder(HEADER, "c"), ".x")),
    ],
)
def test_a_template_is_literal_text_and_placeholders(
    text: str, parts: tuple[str | Placeholder, ...]
) -> None:
    assert Template.parse(text) == (text, parts)


@pytest.mark.parametrize("text", ["{", "}", "{kind}", "{header:}", "{headers:x}", "a{field:{x}}"])
def test_a_brace_outside_of_a_placeholder_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"placeholders are \{header:NAME\} and \{field:NAME\}"):
        Template.parse(text)


def test_an_empty_template_is_rejected() -> None:
    with pytest.raises(ValueError, match="is empty"):
        Template.parse("")


def test_a_mapping_takes_the_whole_value_by_default() -> None:
    assert RecordMapping(Template.parse("x")) == (Template("x", ("x",)), None, None)


# Decoding.


DECODER = Decoder(Registry.built_in())


def mapping(type_: str, category: str | None = None, data: str | None = None) -> RecordMapping:
    return RecordMapping(
        Template.parse(type_), None if category is None else Template.parse(category), data
    )


def read(
    how: RecordMapping, value: bytes, headers: Sequence[tuple[str, bytes]] = (), key: bytes = b"a"
) -> Event | Unreadable:
    record = make_record(7, 0, key, value, tuple(headers))
    return DECODER.decode(record, keyed=True, source=Source("t", LogKind.USER, mapping=how))


def event(event_type: str, category: str | None, payload: bytes) -> Event:
    return Event(event_type, category, frame.event_body(event_type, payload))


KIND = ("kind", b"paid")
FAILED = event("import.failed", "import", b'{"c":[]}')
A_LIST = event("a", None, b"[1.0, 1e2 ]")
A_NUMBER = event("a.7", None, b'{"t":"a","n":7}')


@pytest.mark.parametrize(
    ("how", "value", "expected"),
    [
        (mapping("order"), b"\x00 no JSON", event("order", None, b"\x00 no JSON")),
        (mapping("order.{header:kind}"), b"<xml/>", event("order.paid", None, b"<xml/>")),
        (mapping("import.started"), b"{}", event("import.started", "import", b"{}")),
        (mapping("import.started", "ai"), b"{}", event("import.started", "ai", b"{}")),
        (mapping("o", "c.{header:KIND}"), b"{}", event("o", "c.paid", b"{}")),
        (mapping("o", "{header:none}"), b"{}", event("o", None, b"{}")),
        (mapping("import.failed", "{field:c}"), b"{}", event("import.failed", "import", b"{}")),
        (mapping("import.failed", "{field:c}"), b'{"c":[]}', FAILED),
        (mapping("{field:t}.{field:n}"), b'{"t":"a","n":7}', A_NUMBER),
        (mapping("{field:t}", data="d"), b'{"d": [1.0, 1e2 ], "t":"a"}', A_LIST),
        (mapping("{field:t}", data="d"), b'{"d":1,"t":"a","d":2}', event("a", None, b"2")),
        (mapping("x", data="d"), b'\xef\xbb\xbf{"d": null}', event("x", None, b"null")),
        (mapping("x", data="d"), b'{"d": "cut \\ud83d"}', event("x", None, b'"cut \\ud83d"')),
        (mapping("{field:t}", data="d"), b'{"t": "\\u0061", "d": 0}', event("a", None, b"0")),
    ],
)  # fmt: skip
def test_a_mapped_record_is_an_event(how: RecordMapping, value: bytes, expected: Event) -> None:
    assert read(how, value, [KIND]) == expected


@pytest.mark.parametrize(
    ("how", "value", "reason", "detail"),
    [
        (mapping("order.{header:name}"), b"{}", R.WRONG_SHAPE, "header `name` is missing"),
        (mapping("{field:type}"), b"{}", R.WRONG_SHAPE, "field `type` is missing"),
        (mapping("o", data="payload"), b'{"x": 1}', R.WRONG_SHAPE, "field `payload` is missing"),
        (mapping("{field:t}"), b'{"t": null}', R.WRONG_SHAPE, "field `t` is neither text nor"),
        (mapping("{field:t}"), b'{"t": {"a": 1}}', R.WRONG_SHAPE, "field `t` is neither text nor"),
        (mapping("{field:t}"), b'{"t": 1.5}', R.WRONG_SHAPE, "field `t` is neither text nor"),
        (mapping("{field:t}"), b'{"t": true}', R.WRONG_SHAPE, "field `t` is neither text nor"),
        (mapping("{field:t}"), b'{"t": "\\ud83d"}', R.WRONG_SHAPE, "field `t` is neither text nor"),
        (mapping("{header:bad}"), b"{}", R.WRONG_SHAPE, "header `bad` is not UTF-8"),
        (mapping("{field:t}"), b"[1]", R.WRONG_SHAPE, "Expected `object`"),
        (mapping("{field:t}"), b"nonsense", R.NOT_JSON, ""),
        (mapping("{field:t}"), b"\0\0\0\0\x07abc", R.NOT_JSON, "schema id 7"),
        (mapping("{field:t}", data="d"), b'{"d":' + b"[" * 100_000, R.TOO_DEEP, ""),
        (mapping("{field:t}"), b'{"t": ""}', R.BAD_TYPE, "the event type must have 1 to 255"),
        (mapping("a{field:t}"), b'{"t": "\\n"}', R.BAD_TYPE, "no control characters"),
        (mapping("stream.{header:kind}"), b"{}", R.RESERVED_TYPE, "begins with `stream.`"),
        (mapping("x"), b"", R.EMPTY, ""),
    ],
)  # fmt: skip
def test_an_unreadable_record_names_the_missing_part(
    how: RecordMapping, value: bytes, reason: UnreadableReason, detail: str
) -> None:
    found = read(how, value, [KIND, ("bad", b"\xff")])
    assert isinstance(found, Unreadable)
    assert found.reason is reason
    assert detail in found.detail


def test_the_last_of_two_headers_counts() -> None:
    found = read(mapping("o.{header:kind}"), b"1", [("kind", b"a"), ("KIND", b"b")])
    assert found == event("o.b", None, b"1")


def test_a_value_that_is_not_needed_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.core.mapping.parse", lambda *_: 1 / 0)
    assert read(mapping("a.{header:kind}", "{header:kind}"), b"{", [KIND]) == event(
        "a.paid", "paid", b"{"
    )
    with pytest.raises(ZeroDivisionError):
        read(mapping("a", "{field:c}"), b"{}")


def test_keys_are_checked_as_in_the_other_formats() -> None:
    record = make_record(7, 0, None, b"1")
    source = Source("t", LogKind.USER, KeyTemplate(b"user:"), mapping=mapping("x"))
    assert DECODER.decode(record, keyed=True, source=source) == Unreadable(R.NO_KEY)
    assert DECODER.decode(record, keyed=False, source=source) == event("x", None, b"1")
    record = make_record(7, 0, b"user:alice", b"1")
    assert DECODER.decode(record, keyed=True, source=source) == event("x", None, b"1")
    record = make_record(7, 0, b"alice", b"1")
    assert DECODER.decode(record, keyed=True, source=source) == Unreadable(
        R.KEY_MISMATCH, "it is not `user:{user}`"
    )


def test_the_user_of_an_envelope_is_the_name_in_the_key() -> None:
    record = make_record(7, 0, b"user:a", b'{"event_type": "x", "user_id": "a", "data": 1}')
    source = Source("t", LogKind.USER, KeyTemplate(b"user:"))
    assert DECODER.decode(record, keyed=True, source=source) == event("x", None, b"1")
    assert DECODER.decode(record, keyed=True) == Unreadable(
        R.USER_MISMATCH, "`user_id` is not the record's key"
    )
    # A record of a group may name the user who caused the event.
    group = Source("t", LogKind.GROUP, KeyTemplate(b"user:"), "teams")
    record = make_record(7, 0, b"user:red", b'{"event_type": "x", "user_id": "a", "data": 1}')
    assert DECODER.decode(record, keyed=True, source=group) == event("x", None, b"1")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
objects = st.dictionaries(st.sampled_from(["t", "c", "d", "e", "ü"]), json_values)


@given(objects, st.sampled_from([None, 1]), st.booleans())
def test_fields_equal_those_of_another_parser(
    value: dict[str, object], indent: int | None, ascii_only: bool
) -> None:
    written = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode(
        errors="surrogatepass"
    )
    found = read(mapping("x.{field:t}", data="d"), written)
    kind = value.get("t")
    readable = "d" in value and isinstance(kind, str | int) and not isinstance(kind, bool)
    if isinstance(found, Event):
        assert readable
        assert found.event_type == f"x.{kind}"
        lines = found.body.decode().split("\n")
        assert lines[0] == f"event: x.{kind}"
        payload = "\n".join(line.removeprefix("data: ") for line in lines[1:-2])
        assert json.loads(payload) == value["d"]
        assert payload.replace("\n", "") in written.decode().replace("\n", ""), "byte for byte"
    elif readable and isinstance(kind, str):
        assert type_fault(f"x.{kind}") is not None or found.reason is R.WRONG_SHAPE
    else:
        assert not readable or isinstance(kind, int)


templates = st.lists(
    st.sampled_from(["a", ".", "{header:h}", "{field:t}", "{field:ü}"]), min_size=1, max_size=3
).map("".join)


@given(
    st.builds(mapping, templates, st.none() | templates, st.none() | st.just("d")),
    st.binary(max_size=30) | objects.map(lambda value: json.dumps(value).encode()),
    st.lists(st.tuples(st.sampled_from(["h", "H", "x"]), st.binary(max_size=4)), max_size=3),
)
def test_no_record_raises(
    how: RecordMapping, value: bytes, headers: list[tuple[str, bytes]]
) -> None:
    found = read(how, value, headers)
    if isinstance(found, Event):
        assert not found.event_type.startswith("stream.")
    elif found.reason is R.WRONG_SHAPE:
        assert found.detail


@pytest.mark.parametrize(("text", "fixed"), [("orders", True), ("order.{header:kind}", False)])
def test_a_template_without_placeholders_is_fixed(text: str, *, fixed: bool) -> None:
    assert Template.parse(text).fixed is fixed
