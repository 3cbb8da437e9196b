"""Finds ACLs that this client lacks on topics, if the brokers check ACLs.

Without Describe, metadata hides a topic as if it were missing; without Read, its metadata is
visible and fetches are rejected. Both are checked by topic name, at the start and while a worker
runs.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from gateway.core.records import TopicPartition
from gateway.kafka.diagnosis import Diagnosis, missing_right

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.kafka.client.cluster import ClusterClient
    from gateway.kafka.metadata import Cluster

NOWHERE = 1 << 62
"""An offset beyond every log: a broker checks the ACL first, then rejects it at once."""


async def missing_rights(
    client: ClusterClient, cluster: Cluster, names: Sequence[str]
) -> dict[str, Diagnosis]:
    """Return the missing ACL and the remedy for each topic that lacks one.

    `cluster` is the metadata of these topics. Kafka does not distinguish a topic without Describe
    from a missing one. Costs one request for each topic. A topic whose leaders do not answer counts
    as readable. Never raises.
    """
    if client.is_embedded:
        return {}  # no ACLs; a fetch beyond the end is not rejected at once
    listed = [name for name in names if name in cluster.partitions]
    readable = await asyncio.gather(*[_is_readable(client, name) for name in listed])
    lacking = {name for name, is_readable in zip(listed, readable, strict=True) if not is_readable}
    options = client.options
    return {
        **{
            name: missing_right("Describe", name, options)
            for name in names
            if name in cluster.denied
        },
        **{name: missing_right("Read", name, options) for name in names if name in lacking},
    }


async def _is_readable(client: ClusterClient, topic: str) -> bool:
    try:
        peek = await client.peek(TopicPartition(topic, 0), NOWHERE)
    except KafkaError:
        return True  # the leader is unreachable, which other checks report
    return bool(peek.error != TopicAuthorizationFailedError.errno)
