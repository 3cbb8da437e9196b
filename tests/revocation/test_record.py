from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.event import Decoder
from gateway.core.records import TIMESTAMP_LIMIT, Event, UnreadableReason, make_record
from gateway.core.registry import Registry
from gateway.revocation.record import (
    MIN_TIME,
    Change,
    Revocation,
    read_change,
    revoked_session,
    session_key,
    user_key,
    write_value,
)

NOW = 1_700_000_000_000
LIFE = 86_400_000
TIMES = st.integers(MIN_TIME, TIMESTAMP_LIMIT - 1)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(NAMES, NAMES, TIMES, TIMES)
def test_what_is_written_is_read(user: str, session: str, begin: int, end: int) -> None:
    revocation = Revocation(user.encode(), begin, end)
    for key in (session_key(session), user_key(user.encode())):
        value = write_value(revocation)
        assert read_change(key, value, 0, 0) == Change(key, revocation)
        assert read_change(key, None, 0, 0) == Change(key, None)


@given(
    st.none() | st.binary() | NAMES.map(session_key), st.none() | st.binary(), st.integers(), TIMES
)
def test_no_record_raises(
    key: bytes | None, value: bytes | None, timestamp: int, life: int
) -> None:
    assert isinstance(read_change(key, value, timestamp, life), Change | UnreadableReason)


@pytest.mark.parametrize(
    ("key", "value", "begin", "end"),
    [
        (b"session:s", {"user_id": "alice"}, NOW, NOW + LIFE),
        (b"session:s", {"user_id": "alice", "revoked_at": NOW - 5}, NOW - 5, NOW - 5 + LIFE),
        (b"session:s", {"user_id": "alice", "expires_at": NOW + 5}, NOW, NOW + 5),
        (b"session:s", {"user_id": "alice", "by": "an operator"}, NOW, NOW + LIFE),
        (b"user:alice", {}, NOW, NOW + LIFE),
        (b"user:alice", {"user_id": "alice", "revoked_at": NOW - 5}, NOW - 5, NOW - 5 + LIFE),
    ],
)
def test_omitted_fields_default_to_the_widest_revocation(
    key: bytes, value: object, begin: int, end: int
) -> None:
    change = read_change(key, json.dumps(value).encode(), NOW, LIFE)
    assert change == Change(key, Revocation(b"alice", begin, end))


def test_a_user_id_may_be_a_number_as_in_an_event() -> None:
    change = read_change(b"session:s", b'{"user_id": 7}', NOW, LIFE)
    assert change == Change(b"session:s", Revocation(b"7", NOW, NOW + LIFE))
    assert isinstance(read_change(b"user:7", b'{"user_id": 7}', NOW, LIFE), Change)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (None, b"{}", "no_key"),
        (b"", b"{}", "no_key"),
        (b"user:\xff", b"{}", "key_not_utf8"),
        (b"alice", b"{}", "wrong_shape"),
        (b"session:", b'{"user_id": "alice"}', "wrong_shape"),
        (b"user:", None, "wrong_shape"),
        (b"User:alice", None, "wrong_shape"),
        (b"session:s", b"{}", "wrong_shape"),
        (b"session:s", b'{"user_id": ""}', "wrong_shape"),
        (b"session:s", b'{"user_id": true}', "wrong_shape"),
        (b"session:s", b"[]", "wrong_shape"),
        (b"session:s", b"", "not_json"),
        (b"session:s", b'{"user_id": "alice"', "not_json"),
        (b"session:s", b'{"user_id": "\xff"}', "not_json"),
        (b"session:s", b'{"user_id": "a", "x": ' + b"[" * 100_000, "too_deep"),
        (b"user:alice", b'{"user_id": "bob"}', "user_mismatch"),
        (b"user:alice", b'{"revoked_at": 1700000000}', "wrong_shape"),  # seconds
        (b"user:alice", b'{"expires_at": 1700000000}', "wrong_shape"),
        (b"user:alice", b'{"expires_at": 1700000000000000}', "wrong_shape"),  # microseconds
        (b"user:alice", b'{"expires_at": "2026-01-31T12:00:00Z"}', "wrong_shape"),
    ],
)
def test_a_bad_record_has_its_reason(key: bytes | None, value: bytes | None, reason: str) -> None:
    assert read_change(key, value, NOW, LIFE) == UnreadableReason(reason)


def event_of(value: bytes, *headers: tuple[str, bytes]) -> Event:
    record = make_record(0, NOW, b"alice", value, headers)
    event = Decoder(Registry.built_in()).decode(record, keyed=True)
    assert isinstance(event, Event)
    return event


REVOKED = b"security.session.revoked"


@pytest.mark.parametrize(
    ("payload", "session"),
    [
        (b'{"session_id": "s1"}', "s1"),
        (b'{"session_id": 17, "by": "risk engine"}', "17"),
        (b'{\r\n  "by": "you",\n  "session_id":\r"s1"\n}', "s1"),
        ('{"session_id": "sitzung-ä"}'.encode(), "sitzung-ä"),
        (b'{"session_id": ""}', None),
        (b'{"session_id": null}', None),
        (b'{"session_id": "\\ud800"}', None),
        (b"{}", None),
        (b'"s1"', None),
        (b"[" * 100_000, None),
        (b"no JSON", None),
    ],
)
def test_the_session_is_found_in_the_payload(payload: bytes, session: str | None) -> None:
    assert revoked_session(event_of(payload, ("event_type", REVOKED))) == session


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (b'{"event_type": "%s", "data": {"session_id": "s1"}}' % REVOKED, ()),
        (b'{"session_id": "s1"}', (("ce_specversion", b"1.0"), ("ce_type", REVOKED))),
        (
            b'{"specversion": "1.0", "type": "%s", "data": {"session_id": "s1"}}' % REVOKED,
            (("content-type", b"application/cloudevents+json"),),
        ),
    ],
)
def test_every_shape_of_record_revokes(
    value: bytes, headers: tuple[tuple[str, bytes], ...]
) -> None:
    assert revoked_session(event_of(value, *headers)) == "s1"


@pytest.mark.parametrize("name", ["security.session.new", "security.session.revoked.x"])
def test_another_type_revokes_nothing(name: str) -> None:
    event = event_of(b'{"session_id": "s1"}', ("event_type", name.encode()))
    assert revoked_session(event) is None
