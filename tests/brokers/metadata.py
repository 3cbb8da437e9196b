"""Broker queries of tests: availability, and topics with partition leaders."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from tests.eventually import eventually


@asynccontextmanager
async def admin_client(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """Yield an admin client."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def answers(bootstrap: str) -> bool:
    """Return whether a broker at this address answers Metadata requests."""
    host, _, port = bootstrap.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False  # avoids aiokafka's log line for each attempt
    writer.close()
    await writer.wait_closed()
    try:
        async with admin_client(bootstrap) as admin:
            await admin.describe_cluster()
    except KafkaError:
        return False
    return True


async def create_topics(bootstrap: str, topics: Sequence[NewTopic]) -> None:
    """Create the topics; return when each partition has a leader."""
    async with admin_client(bootstrap) as admin:

        async def led() -> bool:
            described = await admin.describe_topics([topic.name for topic in topics])
            partitions = [partition for topic in described for partition in topic["partitions"]]
            return len(partitions) == wanted and all(
                partition["leader"] >= 0 for partition in partitions
            )

        wanted = sum(len(topic.replica_assignments) or topic.num_partitions for topic in topics)
        await admin.create_topics(list(topics))
        await eventually("each partition has a leader", led)
