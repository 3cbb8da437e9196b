"""The table of revoked sessions and users.

The table has two sources and waits for neither: changes in the compacted topic, which is
authoritative, and events `security.session.revoked` among all other events. A byte search finds
those events, because events without an open stream are never decoded.

- A revocation stays in force until it is lifted or expires, also while Kafka is unavailable.
- A session's revocation is valid for its user only. Two users with sessions of the same name have
  separate revocations.
- A scan that reads an event again does not repeat a revocation that was lifted later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.revocation.record import REVOKED_TYPE, Change, Revocation, session_key, user_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from gateway.core.records import Moment, Record
    from gateway.core.stream import Stream

SWEEP_SECONDS = 60.0
"""Least period between two sweeps, which only save memory: 100,000 entries take 12 ms."""

_TYPE = REVOKED_TYPE.encode()


class Revocations:
    """All revocations in force, by record key."""

    def __init__(self) -> None:
        self._entries: dict[bytes, tuple[Revocation, ...]] = {}
        """One per user; the key of a user has one."""
        self._lifted: dict[bytes, int] = {}
        """When each key was lifted: Unix ms."""
        self._next_sweep = float("-inf")

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def apply(self, change: Change, timestamp: int) -> None:
        """Apply a record of the topic, the newest of its key, written at `timestamp` (Unix ms)."""
        key, revocation = change
        if revocation is None:
            self._entries.pop(key, None)
            self._lifted[key] = timestamp
        else:
            self._lifted.pop(key, None)
            self._add(key, revocation)

    def revoke_session(
        self, user: bytes, session: str, since: int, life: int, now: int
    ) -> Change | None:
        """Revoke a session because of an event written at `since`; times and `life` in ms.

        Returns the change for the topic; None where nothing changes: the session is revoked
        already, was lifted after the event, or its revocation would have expired by `now`.
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

        `issued_at` is the token's claim in Unix seconds, in most tokens without a fraction: a token
        of the second in which its user was revoked counts as issued before.
        """
        for entry in self._entries.get(user_key(user), ()):
            before = issued_at is None or issued_at * 1000 < entry.revoked_at
            if before and entry.expires_at > now:
                return True
        return session is not None and self._session_covered(user, session, now)

    def covered(
        self, streams: Iterable[Stream], users: Collection[bytes], now: int
    ) -> list[Stream]:
        """Return the streams of `users` with revoked tokens; 20,000 streams take 1 ms."""
        return [
            stream
            for stream in streams
            if stream.key in users and self.cover(stream.key, stream.session, stream.issued_at, now)
        ]

    def discard_expired(self, moment: Moment, life: int) -> None:
        """Remove expired entries, at most once in `SWEEP_SECONDS`.

        Removals that are older than `life` ms are forgotten too: events older than that revoke
        nothing.
        """
        if moment.monotonic < self._next_sweep:
            return
        self._next_sweep = moment.monotonic + SWEEP_SECONDS
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
    """Return the records that contain the type of revocation events.

    Every record that a worker reads is searched, and almost none contains the type. One search
    through a whole batch costs 0.1 µs per record of 200 bytes; one search per record costs three
    times as much.
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
