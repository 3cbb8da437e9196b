"""Stream admission: accept a new stream, close another one for it, or reject it.

    state at the request                       | decision
    -------------------------------------------+---------------------------------------------------
    below the limits of user, address, worker  | accept
    a limit reached, a stuck stream counted    | accept, and close that stream (`replaced`); of
    in it                                      | several, the one that has been stuck for longest
    the user's limit reached, and a client of  | the same
    that user does not answer                  |
    a limit reached, no stuck stream           | reject: two clients that evict each other would
                                               | never stop
    replay quota used up, and the request asks | reject with a retry time
    for past events                            |

A stream is stuck when its client does not read what is written to it. A phone that changes its
network leaves such streams behind and must not be locked out by them. A closed stream loses no
event, because the client holds the cursor.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.core.stream import Stream

    Group = Mapping[Stream, None]

_Key = TypeVar("_Key", bytes, str)


class Refusal(StrEnum):
    """The limit that a new stream would exceed."""

    USER = "user_streams"
    ADDRESS = "address_streams"
    WORKER = "worker_streams"
    REPLAYS = "user_replays"
    OPENINGS = "worker_openings"
    """Too many streams are being opened at the same time."""
    KEYS = "key_lookups"
    """Too many requests wait for an unknown signing key; known keys are not affected."""


class Capacity(NamedTuple):
    """Maximum number of open streams. None: no limit."""

    worker: int
    user: int
    address: int | None = None


class OpenStreams:
    """The open streams of a worker, by user and address; updated by the hub."""

    def __init__(self) -> None:
        self.streams: dict[Stream, None] = {}
        self.stuck: dict[Stream, None] = {}
        """Stuck streams, the longest stuck first."""
        self._opened = 0
        """Number of streams that were opened so far."""
        self._users: dict[bytes, dict[Stream, None]] = {}
        self._addresses: dict[str, dict[Stream, None]] = {}

    def add(self, stream: Stream) -> None:
        """Add a stream that was opened, and number it."""
        assert stream not in self.streams
        stream.number = self._opened
        self._opened += 1
        self.streams[stream] = None
        self._users.setdefault(stream.key, {})[stream] = None
        if stream.address:
            self._addresses.setdefault(stream.address, {})[stream] = None

    def remove(self, stream: Stream) -> None:
        """Remove a stream that ends."""
        del self.streams[stream]
        self.stuck.pop(stream, None)
        _discard(self._users, stream.key, stream)
        if stream.address:
            _discard(self._addresses, stream.address, stream)

    def user(self, user: bytes) -> Group:
        """Return the user's streams."""
        return self._users.get(user, {})

    def admit(
        self,
        user: bytes,
        address: str,
        capacity: Capacity,
        unanswered: Callable[[Stream], bool],
    ) -> Refusal | list[Stream]:
        """Return the streams to close for a new stream, often none, or the limit reached.

        `address` is empty where it does not count. `unanswered` returns whether a stream's client
        fails to answer; it is called for the few streams of one user only. Changes no state.
        """
        evicted: list[Stream] = []
        for group, most, refusal in (
            (self.user(user), capacity.user, Refusal.USER),
            (self._addresses.get(address, {}), capacity.address, Refusal.ADDRESS),
            (self.streams, capacity.worker, Refusal.WORKER),
        ):
            left = len(group) - sum(stream in group for stream in evicted)
            if most is None or left < most:
                continue
            stream = self._longest_stuck(group)
            if stream is None and refusal is Refusal.USER:
                stream = next(filter(unanswered, group), None)
            if stream is None:
                return refusal
            evicted.append(stream)
        return evicted

    def _longest_stuck(self, group: Group) -> Stream | None:
        # Search the smaller group: at a limit this runs for every request of a reconnect storm.
        if len(group) < len(self.stuck):
            stuck = {s: s.stuck_since for s in group if s.stuck_since is not None}
            return min(stuck, key=stuck.__getitem__, default=None)
        return next((stream for stream in self.stuck if stream in group), None)


class ReplayQuota:
    """A quota of replays for each user: `most` at once, then one in `seconds`.

    A resume from memory does not count. Holds one number for each user with a recent replay: the
    time at which the quota is full again (generic cell rate algorithm, ITU-T I.371).
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._free_at: dict[bytes, float] = {}
        self._sweep_at = 2 * most

    def wait_seconds(self, user: bytes, now: float) -> float:
        """Return the seconds until the user's next replay; 0: available now."""
        debt = self._free_at.get(user, now) - now
        return max(0.0, debt - (self._most - 1) * self._seconds)

    def count(self, user: bytes, now: float) -> None:
        """Count a replay against the user's quota."""
        self._free_at[user] = max(self._free_at.get(user, now), now) + self._seconds
        if len(self._free_at) > self._sweep_at:
            self._free_at = {who: at for who, at in self._free_at.items() if at > now}
            self._sweep_at = 2 * max(self._most, len(self._free_at))


def _discard(groups: dict[_Key, dict[Stream, None]], key: _Key, stream: Stream) -> None:
    group = groups[key]
    del group[stream]
    if not group:
        del groups[key]
