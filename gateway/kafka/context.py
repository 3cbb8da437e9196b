"""Shared dependencies of the Kafka tasks of a worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from gateway.supervise import Containment, Part, Supervisor

if TYPE_CHECKING:
    from gateway.core.hub import Hub
    from gateway.core.records import TopicPartition, UnreadableReason
    from gateway.kafka.client.cluster import ClusterClient
    from gateway.kafka.offsets import Offsets
    from gateway.kafka.revocation_events import RevocationEvents
    from gateway.metrics import Metrics
    from gateway.readiness import Readiness
    from gateway.schemas.cache import Schemas


class Reports(NamedTuple):
    """Where the Kafka tasks of a worker report."""

    metrics: Metrics
    readiness: Readiness
    supervisor: Supervisor


@dataclass(frozen=True, slots=True)
class ReaderContext:
    """The parts of a worker that the live reader and the replay reader use."""

    cluster: ClusterClient
    hub: Hub
    offsets: Offsets
    metrics: Metrics
    revoking: RevocationEvents
    supervisor: Supervisor
    schemas: Schemas | None = None
    """Needed where a source has a format."""

    def contain(self, part: Part) -> Containment:
        """Return a context manager that ends its block at an exception, and reports it."""
        return self.supervisor.contain(part)

    def unreadable(self, log: TopicPartition, offset: int, reason: UnreadableReason) -> None:
        """Count and log a record that is skipped; does not raise."""
        with self.contain(Part.METRICS):
            self.metrics.unreadable(log, offset, reason)
