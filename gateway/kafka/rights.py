"""Which rights this client lacks on topics, where the brokers check them (ACLs).

A topic without the right Describe is hidden from every list, as if it were not there; one without
the right Read tells its size, and none of its records. Both are asked for by name here, before a
worker says that it is ready.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError, TopicAuthorizationFailedError

from gateway.kafka.consumer import Consumer
from gateway.kafka.diagnosis import missing_right
from gateway.kafka.direct import ask
from gateway.kafka.metadata import TopicsRequest, refused
from gateway.kafka.offsets import EMBEDDED_CLUSTER
from gateway.kafka.topics import answering

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.kafka.diagnosis import Diagnosis
    from gateway.kafka.metadata import Cluster

NOWHERE = 1 << 62
"""An offset that no log has: a broker checks the right first, and answers either way at once."""

_ANSWER_MS = 2000
"""A log whose leader is away does not tell; whoever reads it learns that by other means."""


async def missing_rights(
    options: dict[str, Any], cluster: Cluster, names: Sequence[str]
) -> dict[str, Diagnosis]:
    """Return the right that is missing on each of those topics where one is, and what to do.

    A topic that may not be described may not exist either: Kafka does not tell. Creates nothing.
    Takes some 10 ms. Raises `BrokerError` when the brokers do not answer.
    """
    if cluster.cluster_id == EMBEDDED_CLUSTER:
        return {}  # it knows no rights, and would not answer at once
    unlisted = [name for name in names if name not in cluster.partitions]
    listed = [name for name in names if name in cluster.partitions]
    async with answering(options):
        return {
            **{name: missing_right("Describe", name) for name in await _hidden(options, unlisted)},
            **{name: missing_right("Read", name) for name in await _unreadable(options, listed)},
        }


async def _hidden(options: dict[str, Any], names: list[str]) -> list[str]:
    if not names:
        return []
    answer = await ask(options, TopicsRequest(names))
    return refused(answer, TopicAuthorizationFailedError.errno)


async def _unreadable(options: dict[str, Any], names: list[str]) -> list[str]:
    if not names:
        return []
    unreadable = []
    partitions = [TopicPartition(name, 0) for name in names]
    consumer = Consumer(options, auto_offset_reset="none")
    try:
        await consumer.start()
        consumer.assign(partitions)
        for partition in partitions:
            consumer.seek(partition, NOWHERE)
        for partition in partitions:
            try:
                await consumer.getmany(partition, timeout_ms=_ANSWER_MS)
            except OffsetOutOfRangeError:
                continue
            except TopicAuthorizationFailedError:
                unreadable.append(partition.topic)
    finally:
        await consumer.stop()
    return unreadable
