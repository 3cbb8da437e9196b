"""What the brokers say of topics: how many partitions, and the id of each incarnation.

A topic that was deleted and created again has the same name and another id (KIP-516).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.core.event_id import incarnation_tag

if TYPE_CHECKING:
    from collections.abc import Mapping


class Cluster(NamedTuple):
    """What the brokers answered: who they are, and the topics of those asked for that exist."""

    cluster_id: str
    partitions: Mapping[str, int]
    ids: Mapping[str, bytes]
    """16 bytes for each topic; none for a topic of brokers that know no ids (before Kafka 2.8)."""
    denied: frozenset[str] = frozenset()
    """Topics that this client has no right to describe; they may not exist either."""

    def tag(self, topic: str) -> bytes:
        """Return the tag of a topic's present incarnation, as it stands in event ids."""
        return incarnation_tag(self.cluster_id, topic, self.ids.get(topic, b""))
