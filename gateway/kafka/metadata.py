"""Topic metadata: partition counts, and the id of each incarnation.

A topic that was deleted and created again has the same name and another id (KIP-516).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aiokafka.errors import TopicAuthorizationFailedError

from gateway.core.event_id import incarnation_tag
from gateway.core.source import KeyTemplate, Topic
from gateway.kafka.client.requests import NO_ID

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.source import Source
    from gateway.kafka.client.requests import Metadata


class Cluster(NamedTuple):
    """The cluster's id and the requested topics that exist."""

    cluster_id: str
    partitions: Mapping[str, int]
    ids: Mapping[str, bytes]
    """16 bytes for each topic; missing for brokers without topic ids (before Kafka 2.8)."""
    denied: frozenset[str] = frozenset()
    """Topics that the ACLs hide from this client; they may also not exist."""

    @classmethod
    def of(cls, known: Metadata) -> Cluster:
        """Return the cluster and the topics of a metadata response."""
        topics = known.topics.items()
        return cls(
            known.cluster_id,
            {name: len(topic.leaders) for name, topic in topics if topic.leaders},
            {name: topic.id for name, topic in topics if topic.id != NO_ID},
            frozenset(
                name for name, topic in topics if topic.error == TopicAuthorizationFailedError.errno
            ),
        )

    def tag(self, topic: str) -> bytes:
        """Return the tag of a topic's current incarnation, as used in event ids."""
        return incarnation_tag(self.cluster_id, topic, self.ids.get(topic, b""))

    def topic(self, source: Source) -> Topic:
        """Return the topic of a source, without partitions if it is missing."""
        name = source.topic
        return Topic(
            name,
            source.kind,
            self.tag(name),
            self.partitions.get(name, 0),
            mark=source.mark,
            key=None if source.key == KeyTemplate() else source.key,
            source=source,
        )
