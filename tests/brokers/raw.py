"""Raw access to a log: write batches unchanged, and change batches on disk."""

from __future__ import annotations

import struct
from collections.abc import Callable

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    LeaderNotAvailableError,
    NotLeaderForPartitionError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.produce import ProduceRequest

from gateway.core.records import TopicPartition
from tests.brokers.kafka import KafkaNode
from tests.eventually import eventually

TIMEOUT_MS = 5000

NOT_LED = (
    LeaderNotAvailableError,
    NotLeaderForPartitionError,
    UnknownTopicOrPartitionError,
)
"""Errors of a broker that does not lead the partition yet; it has written nothing."""


async def write_batch(bootstrap: str, log: TopicPartition, batch: bytes) -> None:
    """Write a batch. Raises `KafkaError` if the broker rejects it.

    Waits while the partition has no leader, as for a moment after a topic was created.
    """
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    await client.bootstrap()

    async def written() -> bool:
        await client.set_topics([log.topic])
        await client.force_metadata_update()
        leader = client.cluster.leader_for_partition(log)
        if leader is None or leader < 0:
            return False
        request = ProduceRequest(None, -1, TIMEOUT_MS, [(log.topic, [(log.partition, batch)])])
        response = await client.send(leader, request)
        ((_, ((_, code, *_),)),) = response.topics
        if code and for_code(code) not in NOT_LED:
            raise for_code(code)
        return not code

    try:
        await eventually("the batch is written", written)
    finally:
        await client.close()


def change_on_disk(
    node: KafkaNode, log: TopicPartition, offset: int, change: Callable[[bytes], bytes]
) -> None:
    """Change the batch that starts at the offset; the node must be stopped, not killed.

    A broker that was killed looks its logs through when it starts again, and cuts off what fails.
    """
    segment = node.data / f"{log.topic}-{log.partition}" / f"{0:020d}.log"
    content = segment.read_bytes()
    start, base = 0, -1
    while base != offset:
        base, length = struct.unpack_from(">qi", content, start)
        stop = start + 12 + length
        if base != offset:
            start = stop
    changed = change(content[start:stop])
    assert len(changed) == stop - start, "what follows must stay where it is"
    segment.write_bytes(content[:start] + changed + content[stop:])


def replace_on_disk(node: KafkaNode, log: TopicPartition, content: bytes) -> None:
    """Have a log that was empty hold these batches from offset 0; the node must have ended.

    The broker looks the logs through when it starts again, and builds their indexes.
    """
    (node.data / ".kafka_cleanshutdown").unlink(missing_ok=True)
    folder = node.data / f"{log.topic}-{log.partition}"
    for former in folder.iterdir():
        if former.suffix in {".index", ".timeindex", ".txnindex", ".snapshot"}:
            former.unlink()
    (folder / f"{0:020d}.log").write_bytes(content)
