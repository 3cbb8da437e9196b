"""The members of the fleet, from the statuses that this worker has read.

    a worker                                    | is shown
    --------------------------------------------+---------------------------------------------------
    sends statuses                              | with its latest status
    has sent its final status                   | as gone
    sent no status for `GONE_SECONDS`           | as gone, with its last status
    has only a status from before our start     | not, until it sends a status or counts as gone
    was gone for `FORGET_SECONDS`               | not; its record is removed

Clocks of other hosts are not used. Ages are measured from the arrival of a status here, up to the
arrival of the latest status of any worker. While Kafka is unavailable no status arrives, that time
stands still, and no worker counts as gone. A worker also reads its own statuses.

The first worker that notices removes a record; further removals by other workers change nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from gateway.fleet.status import Status, WorkerState

STATUS_SECONDS = 3.0
"""Period of a worker's statuses."""

GONE_SECONDS = 3.5 * STATUS_SECONDS
"""Three missed statuses and half a period of grace."""

FORGET_SECONDS = 300.0
"""How long a worker that is gone stays visible to operators."""

MAX_MEMBERS = 1_000
"""Maximum workers kept; statuses of further workers are ignored until others are forgotten."""


class Member(NamedTuple):
    """A worker of the fleet."""

    status: Status
    """Its last status, with the state `gone` where the worker is gone."""
    age: float
    """Seconds since the status arrived."""
    silent: bool = False
    """Whether it is gone without a final status."""


class _Entry:
    __slots__ = ("found", "heard", "removed", "status")

    def __init__(self, status: Status, now: float, *, heard: bool) -> None:
        self.status = status
        self.found = now
        self.heard = heard
        """Whether it was sent after our start, rather than found in the topic."""
        self.removed = False
        """Whether its record was removed: the worker stopped in order."""


class Fleet:
    """All workers; `own` names this worker, whose status needs no Kafka."""

    def __init__(self, own: str) -> None:
        self._own = own
        self._status: Status | None = None
        self._entries: dict[str, _Entry] = {}
        self._present = float("-inf")
        """When the latest status arrived: monotonic seconds."""

    def set_own(self, status: Status) -> None:
        """Set this worker's own status."""
        self._status = status

    def apply(self, status: Status, now: float, *, whole: bool) -> None:
        """Apply a status from the topic.

        `whole` is False for a status from before the topic was read to its end. Such a status may
        be old, and shows that its worker is alive only if an earlier status of it was read before.
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
        """Apply the removal of a worker's record; a worker that stopped in order stays visible."""
        entry = self._entries.get(worker)
        if entry is None:
            return
        if entry.status.state is WorkerState.GONE:
            entry.removed = True
        else:
            del self._entries[worker]

    def forget(self) -> list[str]:
        """Forget workers gone for `FORGET_SECONDS`; return those with records to remove."""
        over = [
            worker
            for worker, entry in self._entries.items()
            if worker != self._own and self._present - entry.found >= FORGET_SECONDS
        ]
        return [worker for worker in over if not self._entries.pop(worker).removed]

    def members(self, now: float) -> list[Member]:
        """Return all visible workers, ordered by name."""
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

    def others_ready(self, now: float) -> bool:
        """Return whether another worker is ready, as far as this worker knows."""
        return any(
            member.status.state is WorkerState.READY and member.status.worker != self._own
            for member in self.members(now)
        )
