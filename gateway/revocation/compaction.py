"""What a stretch of the revocations' topic comes down to, so that it can be taken in one step.

Who went by its records one by one would revoke for a moment what was lifted since, and end streams
for it. So only what each key stands for in the end is kept:

- the last revocation for each user: another user's session may have the same name;
- that it was lifted, where it was, before those that came later.

Records of a key come in order, but for the time after the topic has gained partitions: then a key
may be in another one than it was, and the younger record counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container

    from gateway.revocation.record import Change


class Written(NamedTuple):
    """A change as it stands in the topic."""

    change: Change
    partition: int
    timestamp: int
    """Unix ms."""

    @property
    def user(self) -> bytes | None:
        """Whom it revokes something of; None where it lifts."""
        return None if self.change.revocation is None else self.change.revocation.user


class Digest:
    """Changes, by key, as far as they still mean something."""

    def __init__(self) -> None:
        self._found: dict[bytes, tuple[Written, ...]] = {}

    def add(self, written: Written, known: Container[bytes], now: int) -> None:
        """Add the next record. One that is over by `now` (Unix ms) is left out.

        But not if its key is among those `known` from before: then it puts an end to something.
        """
        key, revocation = written.change
        found = self._found.get(key, ())
        if any(w.partition != written.partition and w.timestamp > written.timestamp for w in found):
            return
        if revocation is None:
            self._found[key] = (written,)
            return
        kept = tuple([w for w in found if w.user != revocation.user])
        if revocation.expires_at > now or key in known:
            kept = (*kept, written)
        if kept:
            self._found[key] = kept
        else:
            self._found.pop(key, None)

    def drain(self) -> list[Written]:
        """Return all changes, those of a key in order, and be empty again."""
        every = [written for several in self._found.values() for written in several]
        self._found = {}
        return every
