"""Revocations that a worker has not yet written to their topic.

Every worker that reads an event `security.session.revoked` revokes the session at once, and the
topic needs one record of it. Each worker waits for a short random time, then writes only the
revocations that no other worker has written meanwhile. The number is bounded, and expired
revocations are discarded: without the right to write, revocations would accumulate without limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from gateway.core.records import Moment
    from gateway.revocation.record import Change, Revocation

MAX_PENDING = 10_000
"""About 3 MB. The oldest is discarded first: its write was retried for the longest time."""


class _Entry(NamedTuple):
    change: Change
    revocation: Revocation
    due: float
    """Monotonic seconds."""


class PendingRevocations:
    """Revocations to write, by key and user, ordered by due time."""

    def __init__(self, most: int = MAX_PENDING) -> None:
        self._most = most
        self._entries: dict[tuple[bytes, bytes], _Entry] = {}
        self.discarded = 0
        """Revocations that were discarded because there were too many."""

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, change: Change, due: float) -> None:
        """Add a revocation that is due at a monotonic time, in seconds; a removal is not added."""
        if change.revocation is None:
            return
        name = (change.key, change.revocation.user)
        self._entries.pop(name, None)
        if len(self._entries) >= self._most:
            self._entries.pop(next(iter(self._entries)))
            self.discarded += 1
        self._entries[name] = _Entry(change, change.revocation, due)

    def seen(self, change: Change) -> None:
        """Remove the revocation that a record has written; a removal removes all of its key."""
        if change.revocation is None:
            for name in [name for name in self._entries if name[0] == change.key]:
                del self._entries[name]
            return
        name = (change.key, change.revocation.user)
        entry = self._entries.get(name)
        if entry is not None and entry.revocation.expires_at <= change.revocation.expires_at:
            del self._entries[name]

    def postpone(self, change: Change) -> None:
        """Move a revocation whose write failed behind the others, if it is still pending."""
        if change.revocation is not None:
            name = (change.key, change.revocation.user)
            entry = self._entries.pop(name, None)
            if entry is not None:
                self._entries[name] = entry

    def next(self, moment: Moment) -> tuple[Change, float] | None:
        """Return the next revocation and the seconds until it is due; None: none is pending.

        It stays pending until it is `seen`. Expired revocations are discarded.
        """
        while self._entries:
            name, entry = next(iter(self._entries.items()))
            if entry.revocation.expires_at > moment.wall:
                return entry.change, max(0.0, entry.due - moment.monotonic)
            del self._entries[name]
        return None
