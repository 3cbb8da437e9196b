"""Records of message formats 0 and 1, in segments that an old broker wrote.

Format 0 has no timestamps. An offset in an id is exact without one, and the maximum age of a replay
does not exclude records of unknown age.
"""

from __future__ import annotations

import struct
import zlib

import pytest
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder

from gateway.core.records import TopicPartition
from tests.brokers.batches import batch
from tests.brokers.kafka import KafkaNode
from tests.brokers.raw import replace_on_disk, write_batch
from tests.conftest import MakeTopics, StartWorker
from tests.integration.conftest import OpenStream
from tests.integration.own_node import broker as broker
from tests.integration.own_node import node as node
from tests.integration.poison import expect, follow, now, row, user_of

CODECS = {0: range(3), 1: range(4)}
"""Codec of each partition's messages, by format: none, gzip, snappy, lz4 (only in format 1)."""


def old_messages(user: str, magic: int, codec: int) -> bytes:
    """Return messages with the offsets 0 to 2, as a broker of that time wrote them."""
    builder = LegacyRecordBatchBuilder(magic, codec, 100_000)
    for offset in range(3):
        key, value, *_ = row(user, offset)
        builder.append(offset, now() if magic else None, key, value)
    data = bytearray(builder.build())
    if codec:  # a wrapper has the last offset and the newest timestamp
        struct.pack_into(">q", data, 0, 2)
        if magic:
            struct.pack_into(">q", data, 18, now())
            struct.pack_into(">I", data, 12, zlib.crc32(data[16:]))
    return bytes(data)


@pytest.mark.parametrize("magic", CODECS)
async def test_records_of_old_formats_are_delivered_live_and_by_replay(
    topics: MakeTopics,
    start_worker: StartWorker,
    open_stream: OpenStream,
    node: KafkaNode,
    magic: int,
) -> None:
    partitions = len(CODECS[magic])
    served = await topics(partitions)
    users = [user_of(partition, partitions) for partition in range(partitions)]
    worker = await start_worker(served, heartbeat_seconds=1)
    live = await follow(open_stream, worker, users)
    ids = [client.last_event_id for client in live]

    node.end()
    for codec, user in zip(CODECS[magic], users, strict=True):
        log = TopicPartition(served.user, codec)
        replace_on_disk(node, log, old_messages(user, magic, codec))
    await node.start()
    await expect(live, 0, 1, 2)
    middle = [client.last_event_id for client in live]
    for partition, user in enumerate(users):
        log = TopicPartition(served.user, partition)
        await write_batch(node.bootstrap, log, batch([row(user, 3)], timestamp=now()))
    await expect(live, 0, 1, 2, 3)

    replaying = await start_worker(served, tail_warm_seconds=0)
    resumed = await follow(open_stream, replaying, users, ids)
    await expect(resumed, 0, 1, 2, 3)
    await expect(await follow(open_stream, replaying, users, middle), 3)
    for client in (*live, *resumed):
        assert client.own("gap") == []
    for each in (worker, replaying):
        assert await each.metric("gateway_unreadable_records_total", reason="corrupt") == 0
