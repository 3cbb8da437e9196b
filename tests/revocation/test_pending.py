from __future__ import annotations

from gateway.core.records import Moment
from gateway.revocation.pending import PendingRevocations
from gateway.revocation.record import Change, Revocation, session_key

NOW = Moment(100.0, 1_700_000_000_000)
HOUR = 3_600_000


def change(session: str, user: str = "alice", expires_in: int = HOUR) -> Change:
    revocation = Revocation(user.encode(), NOW.wall, NOW.wall + expires_in)
    return Change(session_key(session), revocation)


def test_revocations_are_due_in_order_and_stay_until_the_topic_has_them() -> None:
    pending = PendingRevocations()
    pending.add(change("a"), 100.5)
    pending.add(change("b"), 101.0)
    assert pending.next(NOW) == (change("a"), 0.5)
    assert pending.next(Moment(200.0, NOW.wall)) == (change("a"), 0.0)
    pending.seen(change("a"))
    assert pending.next(NOW) == (change("b"), 1.0)
    pending.seen(change("b", expires_in=2 * HOUR))
    assert pending.next(NOW) is None


def test_record_that_expires_earlier_or_is_of_another_user_does_not_count() -> None:
    pending = PendingRevocations()
    pending.add(change("a"), 0.0)
    pending.seen(change("a", expires_in=HOUR - 1))
    pending.seen(change("a", user="bob"))
    assert pending.next(NOW) == (change("a"), 0.0)


def test_removal_of_a_key_ends_its_revocations_of_all_users() -> None:
    pending = PendingRevocations()
    for user in ("alice", "bob"):
        pending.add(change("a", user), 0.0)
    pending.add(change("b"), 0.0)
    pending.seen(Change(session_key("a"), None))
    assert len(pending) == 1
    pending.add(Change(session_key("c"), None), 0.0)
    pending.postpone(Change(session_key("c"), None))
    pending.seen(change("unknown"))
    assert len(pending) == 1


def test_expired_revocations_are_discarded() -> None:
    pending = PendingRevocations()
    pending.add(change("a", expires_in=0), 0.0)
    pending.add(change("b", expires_in=5), 0.0)
    assert pending.next(NOW) == (change("b", expires_in=5), 0.0)
    assert pending.next(Moment(101.0, NOW.wall + 5)) is None
    assert len(pending) == 0


def test_number_is_bounded_and_the_oldest_is_discarded() -> None:
    pending = PendingRevocations(3)
    for session in "abcab":
        pending.add(change(session), 0.0)
    assert (len(pending), pending.discarded) == (3, 0)
    pending.add(change("d"), 0.0)
    assert (len(pending), pending.discarded) == (3, 1)
    assert pending.next(NOW) == (change("a"), 0.0)


def test_postponed_revocation_comes_behind_the_others_unless_it_was_removed_meanwhile() -> None:
    pending = PendingRevocations()
    pending.add(change("a"), 0.0)
    pending.add(change("b"), 0.0)
    pending.postpone(change("a"))
    assert pending.next(NOW) == (change("b"), 0.0)
    pending.seen(Change(session_key("b"), None))
    pending.postpone(change("b"))
    assert pending.next(NOW) == (change("a"), 0.0)
    assert len(pending) == 1
