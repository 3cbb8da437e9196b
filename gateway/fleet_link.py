"""Exchange of statuses with other workers: by the topic, or with the siblings of the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import clock
from gateway.fleet.status import Status, read_status, write_status
from gateway.kafka.fleet_topic import FleetTopic

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config import Settings
    from gateway.fleet.members import Fleet
    from gateway.metrics import Metrics


class SiblingStatuses:
    """Statuses of the workers of one machine, passed on by the supervisor, without the topic.

    Sends this worker's status by `send`, as JSON, and passes those of siblings to `fleet`.
    """

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


class FleetLink:
    """Sends the status of this worker; those of others arrive in `fleet`.

    `sibling` says whether this worker is one of several of a supervisor.
    """

    def __init__(
        self, settings: Settings, fleet: Fleet, metrics: Metrics, *, sibling: bool
    ) -> None:
        self.fleet = fleet
        self.topic = FleetTopic(settings, fleet, metrics) if settings.workers_topic else None
        """None if the settings name no topic."""
        self.siblings = SiblingStatuses(fleet) if sibling and self.topic is None else None
        """Statuses of the other workers of the machine, if they do not come from the topic."""

    def publish(self, status: Status) -> None:
        """Send a status."""
        self.fleet.set_own(status)
        if self.topic is not None:
            self.topic.publish(status)
        if self.siblings is not None:
            self.siblings.publish(status)

    async def publish_gone(self, status: Status) -> None:
        """Send the last status; waits until Kafka has it, or for a short time."""
        if self.topic is not None:
            await self.topic.publish_gone(status)
        if self.siblings is not None:
            self.siblings.publish(status)

    def problem(self) -> str:
        """Return why other workers are not visible, with the remedy; empty if they are."""
        if self.siblings is not None:
            return self.siblings.problem
        if self.topic is None:
            return "GATEWAY_WORKERS_TOPIC is empty: a worker knows itself only"
        return self.topic.problem
