"""Which sessions and users are revoked, as far as this worker has heard.

Two things are told about, and neither is ever waited for: the changes in the compacted topic, which
is the authority, and events `security.session.revoked` that a worker meets among all others. Those
are found by a search through bytes, since nobody may be there for whom they would be decoded.

- What was read stays until it is lifted or has expired, whatever becomes of Kafka.
- A session's revocation counts for its user only. Should two users have a session of the same
  name, each has a revocation of its own.
- An event that is read again, by a scan, does not revoke again what was lifted since.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.revocation.record import REVOKED_TYPE, Change, Revocation, session_key, user_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from gateway.core.records import Moment, Record
    from gateway.core.stream import Stream

LOOK_SECONDS = 60.0
"""How often all are looked at for what is over, which only memory hangs on: 100,000 take 12 ms."""

_TYPE = REVOKED_TYPE.encode()


class Revocations:
    """All revocations that count, by the keys of their records."""

    def __init__(self) -> None:
        self._entries: dict[bytes, tuple[Revocation, ...]] = {}
        """One for each user, so for the key of a user there is one."""
        self._lifted: dict[bytes, int] = {}
        """When each key was lifted: Unix ms."""
        self._next_look = float("-inf")

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def take(self, change: Change, timestamp: int) -> None:
        """Go by a record of the topic, written at `timestamp` (ms): the newest of its key."""
        key, revocation = change
        if revocation is None:
            self._entries.pop(key, None)
            self._lifted[key] = timestamp
        else:
            self._lifted.pop(key, None)
            self._add(key, revocation)

    def take_event(
        self, user: bytes, session: str, since: int, life: int, now: int
    ) -> Change | None:
        """Revoke a session because an event of `since` says so; times and `life` in ms.

        Returns the change for the topic; None where nothing changes: it is revoked already, was
        lifted after the event, or would be over by `now`.
        """
        key = session_key(session)
        revocation = Revocation(user, since, since + life)
        if (
            revocation.expires_at <= now
            or self._lifted.get(key, since - 1) >= since
            or self._session_covered(user, session, now)
        ):
            return None
        self._add(key, revocation)
        return Change(key, revocation)

    def cover(self, user: bytes, session: str | None, issued_at: float | None, now: int) -> bool:
        """Return whether a token is revoked at `now` (Unix ms).

        `issued_at` is in Unix seconds, as tokens have it, most of them in whole ones: a token of
        the second in which its user was revoked counts as one issued before.
        """
        for entry in self._entries.get(user_key(user), ()):
            before = issued_at is None or issued_at * 1000 < entry.revoked_at
            if before and entry.expires_at > now:
                return True
        return session is not None and self._session_covered(user, session, now)

    def covered(
        self, streams: Iterable[Stream], users: Collection[bytes], now: int
    ) -> list[Stream]:
        """Return those streams of `users` whose tokens are revoked; 20,000 take a millisecond."""
        return [
            stream
            for stream in streams
            if stream.key in users and self.cover(stream.key, stream.session, stream.issued_at, now)
        ]

    def drop(self, moment: Moment, life: int) -> None:
        """Forget what is over; to be called now and then.

        No event that is older than `life` ms revokes anything, so none needs to know what was
        lifted before then.
        """
        if moment.monotonic < self._next_look:
            return
        self._next_look = moment.monotonic + LOOK_SECONDS
        over = [
            key
            for key, entries in self._entries.items()
            for entry in entries
            if entry.expires_at <= moment.wall
        ]
        for key in over:
            left = [e for e in self._entries.pop(key, ()) if e.expires_at > moment.wall]
            if left:
                self._entries[key] = tuple(left)
        self._lifted = {
            key: timestamp
            for key, timestamp in self._lifted.items()
            if timestamp + life > moment.wall
        }

    def _add(self, key: bytes, revocation: Revocation) -> None:
        others = [e for e in self._entries.get(key, ()) if e.user != revocation.user]
        self._entries[key] = (*others, revocation)

    def _session_covered(self, user: bytes, session: str, now: int) -> bool:
        entries = self._entries.get(session_key(session), ())
        return any(entry.user == user and entry.expires_at > now for entry in entries)


def mentioning(records: Sequence[Record]) -> list[Record]:
    """Return the records that may be an event which revokes a session: its type stands in them.

    All that a worker reads passes here, and almost nothing stays. One search through a whole batch
    costs 0.1 µs for a record of 200 bytes; one for each of them would take three times as long.
    """
    values = [record.value for record in records if record.value is not None]
    named = [value for record in records if record.headers for _, value in record.headers]
    if _TYPE not in b"\n".join(values) and _TYPE not in named:
        return []
    return [
        record
        for record in records
        if _TYPE in (record.value or b"") or any(value == _TYPE for _, value in record.headers)
    ]
