"""The fleet: every worker, as far as this one has heard.

    a worker                                    | is shown as
    --------------------------------------------+---------------------------------------------------
    is heard of                                 | what it says
    has said that it ends                       | gone
    was not heard of for `GONE_SECONDS`         | gone, with what it said last
    stands in the topic from before our start   | nothing, until it is heard of, or gone
    was gone for `FORGET_SECONDS`               | nothing; its record is removed

Clocks of other hosts do not count. What counts is when a status arrives here, and not even that by
our own clock alone: the present is when anybody was last heard of. While Kafka is away nobody is,
so the present stands still, and nobody is gone for that. A worker hears itself, too.

Whoever notices first removes a record; if several do, the others' removals change nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from gateway.fleet.status import Status, WorkerState

STATUS_SECONDS = 3.0
"""How often a worker tells its status."""

GONE_SECONDS = 3.5 * STATUS_SECONDS
"""Three statuses were missed, and half another is grace."""

FORGET_SECONDS = 300.0
"""So long the person on call can see that there was one more."""


MAX_MEMBERS = 1_000
"""Workers that are kept; statuses of further ones are ignored until others are forgotten."""


class Member(NamedTuple):
    """A worker of the fleet."""

    status: Status
    """What it said last, with the state `gone` where it is."""
    age: float
    """Seconds since that was heard."""
    silent: bool = False
    """Whether it is gone without having said so."""


class _Entry:
    __slots__ = ("found", "heard", "removed", "status")

    def __init__(self, status: Status, now: float, *, heard: bool) -> None:
        self.status = status
        self.found = now
        self.heard = heard
        """Whether it has been heard of, rather than found in the topic."""
        self.removed = False
        """Whether its record is: then it has ended in order."""


class Fleet:
    """All workers; `own` is the name of this one, whose status is known without Kafka."""

    def __init__(self, own: str) -> None:
        self._own = own
        self._status: Status | None = None
        self._entries: dict[str, _Entry] = {}
        self._present = float("-inf")
        """When anybody was last heard of."""

    def tell(self, status: Status) -> None:
        """Take this worker's own status."""
        self._status = status

    def hear(self, status: Status, now: float, *, whole: bool) -> None:
        """Take a status out of the topic.

        `whole` is False for what stood there when it was begun to be read, which may be old: only
        one that is younger than what was heard before is a sign of life.
        """
        entry = self._entries.get(status.worker)
        if entry is not None and status.number <= entry.status.number:
            return
        if entry is None and len(self._entries) >= MAX_MEMBERS:
            return
        alive = whole or entry is not None
        if alive:
            self._present = now
        self._entries[status.worker] = _Entry(status, now, heard=alive)

    def removed(self, worker: str) -> None:
        """Take the removal of a worker's record; one that has ended in order stays for a while."""
        entry = self._entries.get(worker)
        if entry is None:
            return
        if entry.status.state is WorkerState.GONE:
            entry.removed = True
        else:
            del self._entries[worker]

    def forget(self) -> list[str]:
        """Forget who was gone for long enough; return those whose records are to be removed."""
        over = [
            worker
            for worker, entry in self._entries.items()
            if worker != self._own and self._present - entry.found >= FORGET_SECONDS
        ]
        return [worker for worker in over if not self._entries.pop(worker).removed]

    def members(self, now: float) -> list[Member]:
        """Return everybody who is to be shown, by name."""
        members = []
        for worker, entry in self._entries.items():
            status, silent = entry.status, self._present - entry.found >= GONE_SECONDS
            if worker == self._own or not (entry.heard or silent):
                continue
            silent = silent and status.state is not WorkerState.GONE
            if silent:
                status = replace(status, state=WorkerState.GONE)
            members.append(Member(status, now - entry.found, silent))
        if self._status is not None:
            members.append(Member(self._status, 0.0))
        return sorted(members, key=lambda member: member.status.worker)
