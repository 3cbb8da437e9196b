from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.event import Decoder
from gateway.core.records import Event, make_record
from gateway.core.registry import Registry
from gateway.errors import PublishError
from gateway.kafka.envelope import check_type, encode, encode_data, user_key

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
)  # fmt: skip


def test_an_envelope_has_the_fields_of_the_design() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    message = encode(
        b"alice", "import.started", encode_data({"rows": 1}), event_id="e1", occurred_at=moment
    )
    assert message.key == b"alice"
    assert message.headers == []
    assert json.loads(message.value or b"") == {
        "event_id": "e1",
        "event_type": "import.started",
        "user_id": "alice",
        "data": {"rows": 1},
        "occurred_at": "2026-01-02T03:04:05Z",
    }


def test_an_id_and_a_time_are_given_where_they_are_left_out() -> None:
    before = datetime.now(UTC)
    message = encode(b"alice", "import.started", encode_data({}))
    value = json.loads(message.value or b"")
    assert uuid.UUID(value["event_id"]).version == 4
    assert value["event_id"] == message.event_id
    assert before <= datetime.fromisoformat(value["occurred_at"]) <= datetime.now(UTC)


def test_a_broadcast_has_neither_key_nor_user() -> None:
    message = encode(None, "maintenance.planned", encode_data({}))
    assert message.key is None
    assert json.loads(message.value or b"")["user_id"] is None


def test_a_category_is_a_header() -> None:
    message = encode(b"alice", "new.type", encode_data({}), category="ai")
    assert message.headers == [("category", b"ai")]


def test_json_that_is_encoded_already_stays_as_it_is() -> None:
    assert encode_data(msgspec.Raw(b'{"price": 1.10}')) == msgspec.Raw(b'{"price": 1.10}')


@pytest.mark.parametrize("user", ["a" * 513, "é" * 257, " ", "a\nb", "\x00", "a\x85b"])
def test_user_id_that_no_token_can_name_is_refused(user: str) -> None:
    with pytest.raises(PublishError, match="no token can name the user id"):
        user_key(user)


USERS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=128
).filter(str.strip)


@given(user=USERS, data=JSON)
def test_a_worker_reads_what_was_encoded(user: str, data: Any) -> None:
    message = encode(user_key(user), "import.started", encode_data(data))
    record = make_record(0, 0, message.key, message.value, tuple(message.headers))
    event = Decoder(Registry.built_in()).decode(record, keyed=True)
    assert isinstance(event, Event)
    assert event.event_type == "import.started"
    assert event.category == "import"
    assert event.body == b"event: import.started\ndata: %b\n\n" % bytes(encode_data(data))


@pytest.mark.parametrize("user", ["", None, 7, b"alice", "\ud800"])
def test_invalid_user_id_is_refused(user: Any) -> None:
    with pytest.raises(PublishError, match="user id"):
        user_key(user)


@pytest.mark.parametrize(
    ("event_type", "text"),
    [
        ("", "1 to 255 bytes"),
        ("a" * 256, "1 to 255 bytes"),
        ("two\nlines", "line breaks"),
        ("nul\0", "control characters"),
        ("\ud800", "1 to 255 bytes"),
        ("stream.gap", "choose another name"),
        (None, "must be a text"),
    ],
)
def test_a_type_that_no_worker_would_send_is_refused(event_type: Any, text: str) -> None:
    with pytest.raises(PublishError, match=text):
        check_type(event_type)


def nested(depth: int) -> list[Any]:
    data: list[Any] = []
    for _ in range(depth):
        data = [data]
    return data


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"a": [1, {"b": float("nan")}]}, "NaN"),
        ((1, float("-inf")), "infinity"),
        (object(), "object"),
        ({(1, 2): 3}, "keys"),
        ("\ud800", "surrogates"),
        (nested(100_000), "recursion"),
    ],
)
def test_data_that_json_cannot_hold_is_refused(data: Any, text: str) -> None:
    with pytest.raises(PublishError, match=text):
        encode_data(data)


def test_null_is_not_rejected_as_nan() -> None:
    assert encode_data({"a": None, "b": "null", "c": [1.5]}) == msgspec.Raw(
        b'{"a":null,"b":"null","c":[1.5]}'
    )


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(PublishError, match="time zone"):
        encode(b"alice", "a", encode_data({}), occurred_at=datetime(2026, 1, 1))  # noqa: DTZ001
