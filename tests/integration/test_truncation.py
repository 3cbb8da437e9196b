"""A leader returns without its last records, whose offsets are reused: clients get a gap.

Kafka does this only with `unclean.leader.election.enable`. The delivered records are no longer in
the log, and the records now in the log have offsets that cursors have already passed.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from tests.brokers.cluster import Cluster
from tests.brokers.metadata import create_topics
from tests.client import StreamClient
from tests.conftest import use_worker, worker_settings
from tests.integration.conftest import OpenStream, new_user
from tests.records import RecordWriter, Topics
from tests.worker import Worker

OLD, NEW, WITNESS = 1, 2, 3
"""The first leader of the log, the second leader, and a broker that votes without a replica."""


@pytest.mark.parametrize("newer", [1, 10], ids=["shorter", "overtaken"])
async def test_truncated_log_leads_to_a_gap(
    cluster: Cluster,
    open_stream: OpenStream,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    newer: int,
) -> None:
    name, user = new_user(), new_user()
    served = Topics(f"user-events-{name}", f"broadcast-events-{name}")
    unclean = {"unclean.leader.election.enable": "true", "min.insync.replicas": "1"}
    await create_topics(
        cluster.bootstrap,
        [
            NewTopic(served.user, -1, -1, {0: [OLD, NEW]}, unclean),
            NewTopic(served.broadcast, 1, 3),
        ],
    )
    worker = Worker(
        worker_settings(served, kafka_bootstrap=cluster.bootstrap, heartbeat_seconds=1),
        tmp_path / "log",
    )
    use_worker(request, worker)
    try:
        await worker.wait_until_ready()
        open_all_along = await open_stream(worker, user)
        away = await open_stream(worker, user)
        await write(cluster, served, user, range(5))

        cluster.kill(NEW)
        await cluster.wait_until_in_step(served.user, OLD)
        await write(cluster, served, user, range(5, 8))
        for client in (open_all_along, away):
            await client.wait_for(8)
        await away.drop()

        worker.signal(signal.SIGSTOP)
        cluster.kill(OLD)
        await cluster.start(NEW)
        await cluster.wait_until_led_by(NEW, served.user, 0)
        await write(cluster, served, user, range(100, 100 + newer))
        worker.signal(signal.SIGCONT)

        await open_all_along.wait_for(lambda client: client.own("gap"))
        await away.reconnect()
        await away.wait_for(lambda client: client.own("gap"))
        await cluster.start(OLD)
        await write(cluster, served, user, [200])
        for client in (open_all_along, away):
            await client.wait_for(lambda client: 200 in client.numbers)
            assert reasons(client) == ["reset"]
            assert client.numbers == [*range(8), *range(100, 100 + newer), 200]
    finally:
        worker.signal(signal.SIGCONT)
        worker.end()
        await cluster.start(*cluster.ended())


async def write(cluster: Cluster, topics: Topics, user: str, numbers: range | list[int]) -> None:
    """Write events that one copy is enough for."""
    async with AIOKafkaProducer(bootstrap_servers=cluster.bootstrap, acks=1) as producer:
        await RecordWriter(producer, topics).numbered(user, numbers)


def reasons(client: StreamClient) -> list[str]:
    """Return the reasons of the gaps that the client received."""
    return [json.loads(data)["reason"] for data in client.own("gap")]
