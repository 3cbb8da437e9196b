from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.revocation.compaction import Digest, Written
from gateway.revocation.record import Change, Revocation, session_key
from gateway.revocation.table import Revocations

NOW = 1_700_000_000_000
KEY = session_key("s1")
USERS = [b"alice", b"bob"]
SESSIONS = ["s1", "s2"]


def revoked(
    user: bytes = b"alice", *, end: int = NOW + 1, partition: int = 0, timestamp: int = NOW
) -> Written:
    return Written(Change(KEY, Revocation(user, NOW, end)), partition, timestamp)


def lifted(*, partition: int = 0, timestamp: int = NOW) -> Written:
    return Written(Change(KEY, None), partition, timestamp)


def digest(*every: Written, known: frozenset[bytes] = frozenset()) -> list[Written]:
    made = Digest()
    for written in every:
        made.add(written, known, NOW)
    drained = made.drain()
    assert made.drain() == []
    return drained


def test_last_record_of_a_key_wins() -> None:
    assert digest(revoked(end=NOW + 1), revoked(end=NOW + 2)) == [revoked(end=NOW + 2)]
    assert digest(revoked(), lifted()) == [lifted()]
    assert digest(lifted(), revoked()) == [lifted(), revoked()]
    assert digest(revoked(), lifted(), revoked(b"bob")) == [lifted(), revoked(b"bob")]


def test_two_users_with_a_session_of_the_same_name_do_not_meet() -> None:
    assert digest(revoked(), revoked(b"bob")) == [revoked(), revoked(b"bob")]
    assert digest(revoked(), revoked(b"bob"), lifted()) == [lifted()]


def test_what_is_over_is_left_out_unless_it_puts_an_end_to_something() -> None:
    over = revoked(end=NOW)
    assert digest(over) == []
    assert digest(revoked(), over) == []
    assert digest(revoked(b"bob"), over) == [revoked(b"bob")]
    assert digest(over, known=frozenset({KEY})) == [over]


def test_of_a_key_in_two_partitions_the_younger_record_counts() -> None:
    old, young = revoked(timestamp=NOW - 1), lifted(partition=1)
    assert digest(old, young) == digest(young, old) == [young]
    assert digest(lifted(timestamp=NOW + 1), revoked(timestamp=NOW)) != [
        lifted(timestamp=NOW + 1)
    ], "within a partition the order counts, whatever the clocks say"


CHANGES = st.builds(
    Change,
    st.sampled_from(SESSIONS).map(session_key),
    st.none()
    | st.builds(Revocation, st.sampled_from(USERS), st.just(NOW), st.integers(NOW - 2, NOW + 2)),
)


@given(st.lists(CHANGES), st.lists(CHANGES))
def test_table_is_equal_after_the_digest_and_after_all_changes(
    before: list[Change], changes: list[Change]
) -> None:
    one_by_one, at_once, made = Revocations(), Revocations(), Digest()
    for change in before:
        one_by_one.apply(change, NOW)
        at_once.apply(change, NOW)
    for change in changes:
        made.add(Written(change, 0, NOW), at_once, NOW)
        one_by_one.apply(change, NOW)
    for written in made.drain():
        at_once.apply(written.change, written.timestamp)
    for user in USERS:
        for session in SESSIONS:
            said = [table.cover(user, session, None, NOW) for table in (one_by_one, at_once)]
            assert said[0] == said[1]
