"""Shared dependencies of the readers of a worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.core.hub import Hub
    from gateway.kafka.client.cluster import ClusterClient
    from gateway.kafka.offsets import Offsets
    from gateway.kafka.revocation_events import RevocationEvents
    from gateway.metrics import Metrics
    from gateway.schemas.cache import Schemas
    from gateway.supervise import Supervisor


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
