"""Rights that this client lacks on topics, where the brokers check rights (ACLs).

A topic without the right Describe is hidden from metadata, as if it were missing; one without the
right Read has metadata and no records. Both are asked for by name, when a worker starts and while
it runs.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from gateway.core.records import TopicPartition
from gateway.kafka.diagnosis import missing_right

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.kafka.client.cluster import ClusterClient
    from gateway.kafka.diagnosis import Diagnosis
    from gateway.kafka.metadata import Cluster

NOWHERE = 1 << 62
"""An offset beyond every log: a broker checks the right first, then rejects it at once."""


async def missing_rights(
    client: ClusterClient, cluster: Cluster, names: Sequence[str]
) -> dict[str, Diagnosis]:
    """Return the missing right of each topic that lacks one, and the remedy.

    `cluster` is the metadata of these topics. A topic that may not be described may be missing too:
    Kafka does not tell which. Costs one request for each topic. A topic whose leaders do not answer
    counts as readable. Raises nothing.
    """
    if client.quirks.no_rights:
        return {}
    listed = [name for name in names if name in cluster.partitions]
    readable = await asyncio.gather(*[_is_readable(client, name) for name in listed])
    lacking = {name for name, is_readable in zip(listed, readable, strict=True) if not is_readable}
    options = client.live_options()
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
        return True  # the leader is away, which other checks report
    return bool(peek.error != TopicAuthorizationFailedError.errno)
