"""Admission: who gets a place, who gives one up, and who has to wait.

    a newcomer finds                           | what happens
    -------------------------------------------+---------------------------------------------------
    room with its user, address and worker     | it gets a place
    a limit reached, and a stuck stream there  | that stream gives its place up (`replaced`); of
                                               | several the one that has been stuck for longest
    its user's limit reached, and a stream of  | the same
    the user's whose client does not answer    |
    a limit reached, and none that is stuck    | it is refused: two clients that evict each other
                                               | would never stop
    its user's replays used up, and asks for   | it is refused, and told when to come back
    the past                                   |

A stream is stuck when its client does not take what is written to it. A phone that has changed its
network leaves such streams behind, and must not be locked out by them; they lose nothing, because
their cursors come back with their clients.
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
    """Which limit a newcomer has met."""

    USER = "user_streams"
    ADDRESS = "address_streams"
    WORKER = "worker_streams"
    REPLAYS = "user_replays"
    OPENINGS = "worker_openings"
    """More streams are being opened at the same time than should wait for each other."""
    KEYS = "key_lookups"
    """More requests wait for an unknown signing key than may; known keys are not affected."""


class Capacity(NamedTuple):
    """How many streams there may be. None: any number."""

    worker: int
    user: int
    address: int | None = None


class OpenStreams:
    """The open streams of a worker, as limits count them. The hub keeps it up to date."""

    def __init__(self) -> None:
        self.streams: dict[Stream, None] = {}
        self.stuck: dict[Stream, None] = {}
        """Those that are stuck, the one that is so for longest first."""
        self._users: dict[bytes, dict[Stream, None]] = {}
        self._addresses: dict[str, dict[Stream, None]] = {}

    def add(self, stream: Stream) -> None:
        """Count a stream that has been opened."""
        assert stream not in self.streams
        self.streams[stream] = None
        self._users.setdefault(stream.key, {})[stream] = None
        if stream.address:
            self._addresses.setdefault(stream.address, {})[stream] = None

    def remove(self, stream: Stream) -> None:
        """Count a stream no more."""
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
        """Decide on a newcomer: the streams that have to be closed for it, most often none.

        `address` is empty where it does not count. `unanswered` tells whether a stream's client
        does not answer; it is asked of the few streams of one user only. Changes nothing.
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
        # By the smaller of the two: at a limit this is asked for every newcomer of a storm.
        if len(group) < len(self.stuck):
            stuck = {s: s.stuck_since for s in group if s.stuck_since is not None}
            return min(stuck, key=stuck.__getitem__, default=None)
        return next((stream for stream in self.stuck if stream in group), None)


class ReplayQuota:
    """How many replays each user may still ask for: `most` at once, then one in `seconds`.

    A resume that memory serves is none. Keeps one number for each user who has had one lately: when
    all of it will have been worked off (generic cell rate algorithm, ITU-T I.371).
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._free_at: dict[bytes, float] = {}
        self._sweep_at = 2 * most

    def wait_seconds(self, user: bytes, now: float) -> float:
        """Return for how many seconds the user has to wait for the next one; 0: not at all."""
        debt = self._free_at.get(user, now) - now
        return max(0.0, debt - (self._most - 1) * self._seconds)

    def count(self, user: bytes, now: float) -> None:
        """Count a replay of the user's."""
        self._free_at[user] = max(self._free_at.get(user, now), now) + self._seconds
        if len(self._free_at) > self._sweep_at:
            self._free_at = {who: at for who, at in self._free_at.items() if at > now}
            self._sweep_at = 2 * max(self._most, len(self._free_at))


def _discard(groups: dict[_Key, dict[Stream, None]], key: _Key, stream: Stream) -> None:
    group = groups[key]
    del group[stream]
    if not group:
        del groups[key]
