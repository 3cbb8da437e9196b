"""Names and ids of what is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.errors import UnknownTopicOrPartitionError

from gateway.core.event_id import incarnation_tag

if TYPE_CHECKING:
    from gateway.core.records import Topic, TopicPartition
    from gateway.kafka.client.cluster import ClusterClient


def log_name(log: TopicPartition) -> str:
    """Return the log as Kafka's own tools write it: `topic-partition`."""
    return f"{log.topic}-{log.partition}"


def topic_id(cluster: ClusterClient, topic: Topic) -> bytes:
    """Return the id of a topic as the worker knows it; empty where the brokers have no ids.

    Whoever fetches by it gets no record of a topic that was recreated. Raises
    `UnknownTopicOrPartitionError` while the brokers name another one: the topic watch adopts that.
    """
    found = cluster.topic_id(topic.name) or b""
    if incarnation_tag(cluster.cluster_id, topic.name, found) != topic.tag:
        raise UnknownTopicOrPartitionError(f"topic {topic.name} is another one")
    return found
