"""Compaction of a range of the revocation topic, so that it is applied in one step.

Applying record by record would revoke sessions that a later record lifts, and end their streams.
The digest keeps only the final changes of each key:

- the last revocation for each user: another user's session may have the same name;
- a removal of the key, ahead of the revocations that follow it.

Records of a key arrive in order, except after the topic has gained partitions: then records of a
key are in two partitions, and the record with the later timestamp counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container

    from gateway.revocation.record import Change


class Written(NamedTuple):
    """A change and its position in the topic."""

    change: Change
    partition: int
    timestamp: int
    """Unix ms."""

    @property
    def user(self) -> bytes | None:
        """The user of the revocation; None for a removal."""
        return None if self.change.revocation is None else self.change.revocation.user


class Digest:
    """The changes that still have an effect, by key."""

    def __init__(self) -> None:
        self._found: dict[bytes, tuple[Written, ...]] = {}

    def add(self, written: Written, known: Container[bytes], now: int) -> None:
        """Add the next record; `now` is Unix ms.

        An expired revocation is discarded unless its key is `known`: then it replaces a revocation
        that was applied before.
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
        """Remove and return all changes; those of a key are in order."""
        every = [written for several in self._found.values() for written in several]
        self._found = {}
        return every
