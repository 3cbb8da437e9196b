"""Error codes of partitions, their texts, and the exceptions that they become."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.errors import (
    KafkaError,
    NotLeaderForPartitionError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

if TYPE_CHECKING:
    from gateway.core.records import TopicPartition

OUT_OF_RANGE = 1

UNKNOWN_TOPIC = {3, 100, 103}
"""Unknown topic or partition; unknown or inconsistent topic id (KIP-516)."""
MOVED = {5, 6, 9, 56, 74, 75, 78}
"""No leader, not leader or follower, replica not available, storage error, fenced or unknown leader
epoch, offset not available: the leader may have changed."""

_ERRORS = {
    29: "no permission to read the topic",
    70: "fetch session not found",
    71: "invalid fetch session epoch",
    74: "fenced leader epoch",
    75: "unknown leader epoch",
    78: "offset not available",
    100: "unknown topic id",
    103: "inconsistent topic id",
}


def log_name(log: TopicPartition) -> str:
    """Return the name of a log in the format of Kafka's tools: `topic-partition`."""
    return f"{log.topic}-{log.partition}"


def describe(error: int) -> str:
    """Return the text of an error code."""
    return _ERRORS.get(error) or str(for_code(error).__name__)


def partition_error(code: int, log: TopicPartition) -> KafkaError:
    """Return the exception for an error code of a partition.

    Codes that aiokafka does not know become the exception of a code with the same meaning. A
    missing right names the topic, because rights belong to topics.
    """
    kind = for_code(code)
    if code in MOVED:
        kind = NotLeaderForPartitionError
    elif code in UNKNOWN_TOPIC:
        kind = UnknownTopicOrPartitionError
    return kind(log.topic if kind is TopicAuthorizationFailedError else log_name(log))
