"""Names and topic ids of logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.errors import UnknownTopicOrPartitionError

from gateway.core.event_id import incarnation_tag

if TYPE_CHECKING:
    from gateway.core.records import TopicPartition
    from gateway.core.source import Topic
    from gateway.kafka.client.cluster import ClusterClient


def log_name(log: TopicPartition) -> str:
    """Return the name of a log in the format of Kafka's tools: `topic-partition`."""
    return f"{log.topic}-{log.partition}"


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
