"""Batches that a disk has spoilt: each is passed by, live and by replay, and nothing else waits."""

from __future__ import annotations

import signal

from gateway.core.records import TopicPartition
from gateway.kafka.probe import probe
from tests.brokers.batches import CODECS, batch, with_bit_flipped, with_garbage
from tests.brokers.kafka import KafkaNode
from tests.brokers.raw import change_on_disk, write_batch
from tests.eventually import eventually
from tests.integration.conftest import OpenStream, SetUp
from tests.integration.own_node import broker as broker
from tests.integration.own_node import node as node
from tests.integration.poison import expect, follow, now, row, skipped, user_of
from tests.worker import Worker

FAULTS = ["checksum", *CODECS, "last"]
"""What is wrong in the partition of that number; in `last` nothing follows the broken batch."""

SOUND = len(FAULTS)
"""The partition in which nothing is wrong."""


async def all_counted(worker: Worker) -> None:
    """Return when the worker has counted each broken batch; it may read one more than once."""

    async def counted() -> bool:
        found = await worker.metric("gateway_unreadable_records_total", reason="corrupt")
        return found >= SOUND

    await eventually("every broken batch is counted", counted)


async def test_a_batch_that_the_disk_has_spoilt_is_passed_by(
    set_up: SetUp, open_stream: OpenStream, node: KafkaNode
) -> None:
    partitions = SOUND + 1
    users = [user_of(partition, partitions) for partition in range(partitions)]
    stage = await set_up(partitions, heartbeat_seconds=1)
    live = await follow(open_stream, stage.worker, users)
    ids = [client.last_event_id for client in live]

    # The worker must read nothing before it is spoilt. A fetch that it has sent is answered with
    # the first batch that is written, so the sound partition comes first.
    stage.worker.freeze()
    for partition, fault in reversed([*enumerate([*FAULTS, "sound"])]):
        user = users[partition]
        log = TopicPartition(stage.topics.user, partition)
        codec = fault if fault in CODECS else None
        middle = batch([row(user, 1), row(user, 2)], codec=codec, timestamp=now())
        await write_batch(node.bootstrap, log, batch([row(user, 0)], timestamp=now()))
        await write_batch(node.bootstrap, log, middle)
        if fault != "last":
            await write_batch(node.bootstrap, log, batch([row(user, 3)], timestamp=now()))
    node.end()
    for partition, fault in enumerate(FAULTS):
        spoil = with_garbage if fault in CODECS else with_bit_flipped
        change_on_disk(node, TopicPartition(stage.topics.user, partition), 1, spoil)
    await node.start()
    stage.worker.signal(signal.SIGCONT)

    last = FAULTS.index("last")
    await expect(live[:last], 0, 3)
    await expect(live[last:SOUND], 0)
    await expect(live[SOUND:], 0, 1, 2, 3)
    await all_counted(stage.worker)
    assert set(skipped(stage.worker)) <= {
        (stage.topics.user, partition, 1, "corrupt") for partition in range(SOUND)
    }

    replaying = await stage.start(tail_warm_seconds=0)
    resumed = await follow(open_stream, replaying, users, ids)
    await expect(resumed[:last], 0, 3)
    await expect(resumed[last:SOUND], 0)
    await expect(resumed[SOUND:], 0, 1, 2, 3)
    await all_counted(replaying)

    for user in users:
        partition = users.index(user)
        await write_batch(
            node.bootstrap,
            TopicPartition(stage.topics.user, partition),
            batch([row(user, 4)], timestamp=now()),
        )
    for clients in (live, resumed):
        await expect(clients[:last], 0, 3, 4)
        await expect(clients[last:SOUND], 0, 4)
        await expect(clients[SOUND:], 0, 1, 2, 3, 4)

    async with probe({"bootstrap_servers": [node.bootstrap]}) as look:
        for partition in range(last):
            newest = await look.newest(TopicPartition(stage.topics.user, partition), 10)
            assert [record.offset for record in newest] == [0, 3, 4]
            assert await look.record(TopicPartition(stage.topics.user, partition), 2) is None
