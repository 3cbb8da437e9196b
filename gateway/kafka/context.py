"""Shared dependencies of the readers of a worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiokafka.errors import UnknownTopicOrPartitionError

from gateway.core.event_id import incarnation_tag

if TYPE_CHECKING:
    from gateway.core.hub import Hub
    from gateway.core.source import Topic
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


def topic_id(cluster: ClusterClient, topic: Topic) -> bytes:
    """Return the worker's id of a topic; empty for brokers without topic ids.

    A fetch by this id never returns records of a recreated topic. Raises
    `UnknownTopicOrPartitionError` while the brokers return another id, until the topic watch has
    applied it.
    """
    found = cluster.topic_id(topic.name) or b""
    if incarnation_tag(cluster.cluster_id, topic.name, found) != topic.tag:
        raise UnknownTopicOrPartitionError(f"topic {topic.name} is another one")
    return found
