"""Statuses of the workers of one machine, passed on by the supervisor.

Used without `GATEWAY_WORKERS_TOPIC`, so that the workers of a machine know each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import clock
from gateway.fleet.status import Status, read_status, write_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.fleet.members import Fleet


class SiblingStatuses:
    """Sends this worker's status by `send`, as JSON, and passes those of siblings to `fleet`."""

    problem = "GATEWAY_WORKERS_TOPIC is empty: only the workers of this machine are visible"

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.send: Callable[[bytes], None] | None = None
        """Set once the supervisor can be reached."""

    def publish(self, status: Status) -> None:
        """Send a status; workers that are gone for long are forgotten."""
        self._fleet.forget()
        if self.send is not None:
            self.send(write_status(status))

    def received(self, worker: str, value: bytes) -> None:
        """Apply the status of a sibling."""
        status = read_status(worker.encode(), value)
        if status is not None:
            self._fleet.apply(status, clock.now().monotonic, whole=True)
