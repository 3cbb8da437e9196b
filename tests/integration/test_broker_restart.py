"""A single broker that restarts, and one that throttles: nothing is lost, and each is visible."""

from __future__ import annotations

import asyncio
import signal

from gateway.core.records import TopicPartition
from tests.brokers.batches import batch
from tests.brokers.kafka import JAVA, KafkaNode, fetch_jars
from tests.brokers.raw import write_batch
from tests.conftest import MakeTopics, StartWorker
from tests.integration.conftest import OpenStream, new_user
from tests.integration.own_node import broker as broker
from tests.integration.own_node import node as node
from tests.integration.poison import follow, now, row


async def test_a_restart_of_the_broker_does_not_restart_idle_partitions(
    topics: MakeTopics, start_worker: StartWorker, open_stream: OpenStream, node: KafkaNode
) -> None:
    served = await topics(1)
    user = new_user()
    log = TopicPartition(served.user, 0)
    await write_batch(node.bootstrap, log, batch([row(user, 0)], timestamp=now()))
    worker = await start_worker(served, heartbeat_seconds=1)
    (client,) = await follow(open_stream, worker, [user])
    node.end()
    await node.start()
    await write_batch(node.bootstrap, log, batch([row(user, 1)], timestamp=now()))
    await client.wait_for(1)
    assert client.numbers == [1]
    assert client.own("gap") == []
    assert "partition restarts at its end" not in worker.log()


async def test_a_quota_delays_events_and_loses_none(
    topics: MakeTopics, start_worker: StartWorker, open_stream: OpenStream, node: KafkaNode
) -> None:
    served = await topics(1)
    user = new_user()
    log = TopicPartition(served.user, 0)
    quota = "--alter --add-config consumer_byte_rate=100000 --entity-type clients --entity-default"
    process = await asyncio.create_subprocess_exec(
        *JAVA,
        "-cp",
        f"{await asyncio.to_thread(fetch_jars)}/*",
        "kafka.admin.ConfigCommand",
        "--bootstrap-server",
        node.bootstrap,
        *quota.split(),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() == 0
    worker = await start_worker(served, heartbeat_seconds=1)
    (client,) = await follow(open_stream, worker, [user])
    worker.freeze()  # so that it finds more than the quota, however slowly this is written
    for number in range(20):
        padded = row(user, number, ("padding", b"x" * 20_000))
        await write_batch(node.bootstrap, log, batch([padded], timestamp=now()))
    worker.signal(signal.SIGCONT)
    await client.wait_for(20)
    assert client.numbers == [*range(20)]
    assert client.own("gap") == []
    await worker.wait_for_log("fetches throttled")
    assert "partition stalled" not in worker.log()
    resumed = await start_worker(served, heartbeat_seconds=1, tail_warm_seconds=0)
    again = await open_stream(resumed, user, params=[("since", "0")])
    await again.wait_for(20)
    assert again.numbers == [*range(20)]
