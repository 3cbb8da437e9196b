from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.records import Moment, Record, make_record
from gateway.core.stream import Stream
from gateway.revocation.record import Change, Revocation, session_key, user_key
from gateway.revocation.table import SWEEP_SECONDS, Revocations, mentioning

NOW = 1_700_000_000_000
SECOND = NOW // 1000
LIFE = 1000
LATER = NOW + LIFE


def session(name: str, user: bytes = b"alice", begin: int = NOW, end: int = LATER) -> Change:
    return Change(session_key(name), Revocation(user, begin, end))


def user(name: bytes = b"alice", begin: int = NOW, end: int = LATER) -> Change:
    return Change(user_key(name), Revocation(name, begin, end))


def holding(*changes: Change) -> Revocations:
    table = Revocations()
    for change in changes:
        table.apply(change, NOW)
    return table


# What is revoked.


def test_a_session_is_revoked_for_its_user_only() -> None:
    table = holding(session("s1"))
    assert table.cover(b"alice", "s1", None, NOW)
    assert not table.cover(b"alice", "s2", None, NOW)
    assert not table.cover(b"alice", None, None, NOW)
    assert not table.cover(b"bob", "s1", None, NOW)
    assert b"session:s1" in table
    assert b"session:s2" not in table


def test_two_users_with_a_session_of_the_same_name_do_not_meet() -> None:
    table = holding(session("s1"), session("s1", b"bob", end=NOW + 10))
    assert table.cover(b"alice", "s1", None, NOW)
    assert table.cover(b"bob", "s1", None, NOW)
    assert not table.cover(b"bob", "s1", None, NOW + 10)
    assert table.cover(b"alice", "s1", None, NOW + 10)


@pytest.mark.parametrize(
    ("issued_at", "covered"),
    [
        (None, True),
        (SECOND - 1, True),
        (SECOND, True),  # most tokens have whole seconds: it may be older than the revocation
        (SECOND + 0.2, True),
        (SECOND + 0.25, False),
        (SECOND + 1, False),
    ],
)
def test_a_user_is_revoked_as_far_as_tokens_were_issued_before(
    issued_at: float | None, covered: bool
) -> None:
    table = holding(user(begin=NOW + 250))
    for name in (None, "s1"):
        assert table.cover(b"alice", name, issued_at, NOW) is covered
    assert not table.cover(b"bob", "s1", issued_at, NOW)


def test_a_user_and_a_session_of_the_same_name_do_not_meet() -> None:
    assert not holding(user(b"s1")).cover(b"alice", "s1", None, NOW)
    assert not holding(session("alice")).cover(b"alice", "s1", None, NOW)


def test_a_revocation_is_over_at_its_end() -> None:
    for table in (holding(session("s1")), holding(user())):
        assert table.cover(b"alice", "s1", None, LATER - 1)
        assert not table.cover(b"alice", "s1", None, LATER)


def test_a_later_record_of_the_same_key_takes_the_place_of_the_earlier() -> None:
    table = holding(user(), user(begin=NOW - 10_000, end=LATER + LIFE))
    assert not table.cover(b"alice", None, SECOND - 1, NOW)
    assert table.cover(b"alice", None, SECOND - 11, LATER)
    assert len(table) == 1


def test_tombstone_lifts_a_session_of_any_user_and_a_user() -> None:
    table = holding(session("s1"), session("s1", b"bob"), user(), Change(session_key("s1"), None))
    assert not table.cover(b"bob", "s1", None, NOW)
    assert table.cover(b"alice", "s1", None, NOW), "the user is revoked still"
    table.apply(Change(user_key(b"alice"), None), NOW)
    assert not table.cover(b"alice", "s1", None, NOW)
    table.apply(Change(user_key(b"nobody"), None), NOW)


# Memory.


def test_what_is_over_is_forgotten_at_the_next_look() -> None:
    table = holding(session("s1"), session("s1", b"bob", end=LATER + 1), session("s2"), user())
    assert len(table) == 3
    table.discard_expired(Moment(0, LATER - 1), LIFE)
    assert len(table) == 3
    table.discard_expired(Moment(SWEEP_SECONDS - 1, LATER), LIFE)
    assert len(table) == 3, "too soon to look again"
    table.discard_expired(Moment(SWEEP_SECONDS, LATER), LIFE)
    assert len(table) == 1
    assert table.cover(b"bob", "s1", None, LATER)
    assert not table.cover(b"alice", "s1", None, NOW)
    table.discard_expired(Moment(2 * SWEEP_SECONDS, LATER + 1), LIFE)
    assert len(table) == 0


# Events.


def test_an_event_revokes_its_session_once() -> None:
    table = Revocations()
    change = table.revoke_session(b"alice", "s1", NOW - 10, LIFE, NOW)
    assert change == session("s1", begin=NOW - 10, end=NOW - 10 + LIFE)
    assert table.cover(b"alice", "s1", None, NOW)
    assert table.revoke_session(b"alice", "s1", NOW, LIFE, NOW) is None
    assert table.revoke_session(b"bob", "s1", NOW, LIFE, NOW) is not None


def test_event_does_not_shorten_a_revocation_of_the_topic() -> None:
    table = holding(session("s1", end=LATER + LIFE))
    assert table.revoke_session(b"alice", "s1", NOW, LIFE, NOW) is None
    assert table.cover(b"alice", "s1", None, LATER)


def test_replayed_event_does_not_revoke_a_session_lifted_since() -> None:
    table = holding(session("s1"))
    table.apply(Change(session_key("s1"), None), NOW + 5)
    for since in (NOW, NOW + 5):
        assert table.revoke_session(b"alice", "s1", since, LIFE, NOW + 6) is None
    assert table.revoke_session(b"alice", "s1", NOW + 6, LIFE, NOW + 6) is not None
    table.apply(Change(session_key("s1"), None), NOW + 7)
    table.apply(session("s1"), NOW + 8)
    assert table.cover(b"alice", "s1", None, NOW)


def test_an_old_event_revokes_nothing_and_no_lift_is_kept_for_it() -> None:
    table = Revocations()
    assert table.revoke_session(b"alice", "s1", NOW - LIFE, LIFE, NOW) is None
    table.apply(Change(session_key("s1"), None), NOW)
    table.discard_expired(Moment(0, NOW + LIFE - 1), LIFE)
    assert table.revoke_session(b"alice", "s1", NOW, LIFE, NOW + LIFE - 1) is None
    table.discard_expired(Moment(SWEEP_SECONDS, NOW + LIFE), LIFE)
    assert table.revoke_session(b"alice", "s1", NOW, LIFE, NOW + LIFE - 1) is not None


# A table that is a plain list of all changes.


@dataclass
class Naive:
    """Every change ever, in order."""

    said: list[Change]

    def cover(self, who: bytes, name: str, issued_at: int, now: int) -> bool:
        return self._counts(user_key(who), who, now, issued_at) or self._counts(
            session_key(name), who, now, 0
        )

    def _counts(self, key: bytes, who: bytes, now: int, issued_at: int) -> bool:
        last: Revocation | None = None
        for change in self.said:
            if change.key != key:
                continue
            if change.revocation is None:
                last = None
            elif change.revocation.user == who:
                last = change.revocation
        return last is not None and now < last.expires_at and issued_at * 1000 < last.revoked_at


USERS = [b"alice", b"bob"]
SESSIONS = ["s1", "s2", "alice"]
MOMENTS = st.integers(0, 10).map(lambda second: NOW + 1000 * second)
CHANGES = st.one_of(
    st.builds(session, st.sampled_from(SESSIONS), st.sampled_from(USERS), MOMENTS, MOMENTS),
    st.builds(user, st.sampled_from(USERS), MOMENTS, MOMENTS),
    st.sampled_from([session_key(name) for name in SESSIONS]).map(lambda key: Change(key, None)),
    st.sampled_from([user_key(name) for name in USERS]).map(lambda key: Change(key, None)),
)


@given(st.lists(CHANGES), st.data())
def test_table_agrees_with_a_list_of_all_changes(
    changes: list[Change], data: st.DataObject
) -> None:
    table, naive = Revocations(), Naive([])
    now, looks = NOW, 0.0
    for change in changes:
        now = max(now, data.draw(MOMENTS))
        table.apply(change, now)
        naive.said.append(change)
        if data.draw(st.booleans()):
            looks += SWEEP_SECONDS
            table.discard_expired(Moment(looks, now), LIFE)
        for who in USERS:
            for name in SESSIONS:
                issued_at = data.draw(MOMENTS) // 1000
                expected = naive.cover(who, name, issued_at, now)
                assert table.cover(who, name, issued_at, now) == expected


# Streams and records.


@dataclass(eq=False)
class Opened:
    key: bytes
    session: str | None
    issued_at: float | None


def test_the_streams_that_a_revocation_ends_are_those_of_its_tokens() -> None:
    streams = [
        Opened(b"alice", "s1", SECOND - 1),
        Opened(b"alice", "s2", SECOND - 1),
        Opened(b"alice", "s2", SECOND + 1),
        Opened(b"alice", None, None),
        Opened(b"bob", "s1", SECOND - 1),
    ]

    def ended(table: Revocations, *users: bytes) -> list[int]:
        found = table.covered(cast("list[Stream]", streams), users, NOW)
        return [streams.index(cast("Opened", stream)) for stream in found]

    assert ended(holding(session("s1"))) == []
    assert ended(holding(session("s1")), b"alice") == [0]
    assert ended(holding(session("s1")), b"bob") == []
    assert ended(holding(session("s1"), session("s1", b"bob")), b"alice", b"bob") == [0, 4]
    assert ended(holding(user()), b"alice") == [0, 1, 3]


def record(value: bytes | None, *headers: tuple[str, bytes]) -> Record:
    return make_record(0, NOW, b"alice", value, headers)


TYPE = b"security.session.revoked"


def test_records_that_may_revoke_are_found_among_all() -> None:
    plain = [
        record(None),
        record(b""),
        record(b'{"event_type":"security.session.new"}'),
        record(b"{}", ("event_type", b"security.session.new"), ("x", TYPE + b".not")),
    ]
    telling = [
        record(b'{"event_type":"%s"}' % TYPE),
        record(b"{}", ("event_id", b"7"), ("event_type", TYPE)),
        record(None, ("ce_type", TYPE)),
    ]
    assert mentioning([]) == mentioning(plain) == []
    for each in telling:
        assert mentioning([*plain, each, *plain]) == [each]
    assert mentioning([*telling, *plain]) == telling


def test_what_stands_across_two_records_is_in_neither() -> None:
    assert mentioning([record(TYPE[:9]), record(TYPE[9:])]) == []
