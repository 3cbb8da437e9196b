"""Topics gain partitions or are recreated, with clients connected and disconnected.

The embedded broker has neither `create_partitions` nor another cluster's id, so most of this is
Apache Kafka's.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewPartitions, NewTopic

from gateway.core.event_id import parse
from gateway.core.partitioner import partitioner
from gateway.core.records import LogKind
from tests.brokers.kafka import KafkaNode
from tests.brokers.metadata import admin_client, create_topics
from tests.child import free_port
from tests.client import StreamClient
from tests.conftest import (
    Broker,
    MakeTopics,
    StartWorker,
    require_kafka,
    use_worker,
    worker_settings,
)
from tests.eventually import eventually
from tests.integration.conftest import OpenStream, SetUp, new_user
from tests.records import RecordWriter, Topics
from tests.worker import Worker

BEFORE, AFTER = 2, 4

SETTLE_SECONDS = 20
"""How long a former partition is still read: enough to write into both on a busy machine."""

only_kafka = pytest.mark.parametrize("broker", ["kafka"], indirect=True, scope="session")


def user_who_moves(old: int, new: int) -> str:
    """Return a new user id with one partition of two and another partition of four."""
    choose = partitioner("murmur2")
    users = ((user, user.encode()) for user in iter(new_user, ""))
    return next(
        user for user, key in users if choose(key, BEFORE) == old and choose(key, AFTER) == new
    )


def partitions_of(client: StreamClient) -> list[int]:
    """Return the partitions of the user topic that the client's id speaks of."""
    return [m.partition for m in parse(client.last_event_id) if m.kind is LogKind.USER]


def reasons(client: StreamClient) -> list[str]:
    return [json.loads(data)["reason"] for data in client.own("gap")]


async def grow(bootstrap: str, topic: str) -> None:
    async with admin_client(bootstrap) as admin:
        await admin.create_partitions({topic: NewPartitions(AFTER)})

        async def led() -> bool:
            (described,) = await admin.describe_topics([topic])
            led = [part["leader"] >= 0 for part in described["partitions"]]
            return len(led) == AFTER and all(led)

        await eventually("every partition has a leader", led)


async def recreate(bootstrap: str, topic: str, partitions: int = BEFORE) -> None:
    """Delete and recreate a topic."""
    await delete(bootstrap, topic)
    await create_topics(bootstrap, [NewTopic(topic, partitions, 1)])


async def delete(bootstrap: str, topic: str) -> None:
    """Delete a topic, and wait until it is gone."""
    async with admin_client(bootstrap) as admin:
        await admin.delete_topics([topic])

        async def gone() -> bool:
            return topic not in await admin.list_topics()

        await eventually("the topic is gone", gone)


async def write(
    bootstrap: str, topics: Topics, user: str, numbers: range | list[int], **options: int
) -> None:
    """Write with a producer that knows the topics as they are now."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        await RecordWriter(producer, topics).numbered(user, numbers, **options)


@only_kafka
@pytest.mark.parametrize("tail_warm_seconds", [60, 0])
async def test_user_whose_partition_changes_gets_each_event_of_both_partitions_once(
    set_up: SetUp, broker: Broker, tail_warm_seconds: int
) -> None:
    user, other = user_who_moves(1, 3), user_who_moves(0, 0)
    stage = await set_up(
        BEFORE,
        settle_seconds=SETTLE_SECONDS,
        heartbeat_seconds=1,
        tail_warm_seconds=tail_warm_seconds,
    )
    client, away, stays = [await stage.open(name) for name in (user, user, other)]
    await write(broker.bootstrap, stage.topics, user, range(3))
    await write(broker.bootstrap, stage.topics, other, range(2))
    for each in (client, away):
        await each.wait_for(3)
    await away.drop()

    await grow(broker.bootstrap, stage.topics.user)
    await write(broker.bootstrap, stage.topics, user, range(10, 13), partition=3)
    await write(broker.bootstrap, stage.topics, user, range(20, 23), partition=1)
    await client.wait_for(9)
    await client.wait_for(lambda client: partitions_of(client) == [3, 1])
    await write(broker.bootstrap, stage.topics, user, [23], partition=1)
    await write(broker.bootstrap, stage.topics, user, [13], partition=3)
    await client.wait_for(11)
    fresh = await stage.start(settle_seconds=SETTLE_SECONDS)
    await away.reconnect(url=fresh.events_url)
    await away.wait_for(11)

    for each in (client, away):
        assert len(each.numbers) == len(set(each.numbers)), "repeated"
        assert [n for n in each.numbers if n < 10 or n >= 20] == [0, 1, 2, 20, 21, 22, 23]
        assert [n for n in each.numbers if 10 <= n < 20] == [10, 11, 12, 13]
        assert reasons(each) == []
    await client.wait_for(lambda client: partitions_of(client) == [3])
    await client.reconnect()
    await write(broker.bootstrap, stage.topics, user, [14], partition=3)
    await client.wait_for(12)
    assert client.numbers[-1] == 14
    await stays.wait_for(2)
    assert stays.numbers == [0, 1]
    assert await stage.worker.metric("gateway_partitioner_mismatches_total") == 0


@only_kafka
async def test_ids_cross_between_workers_of_which_one_has_not_noticed_yet(
    broker: Broker, topics: MakeTopics, start_worker: StartWorker, open_stream: OpenStream
) -> None:
    served = await topics(BEFORE)
    user = user_who_moves(0, 2)
    one, two = [await start_worker(served, settle_seconds=60) for _ in range(2)]
    client = await open_stream(one, user)
    await write(broker.bootstrap, served, user, [0])
    await client.wait_for(1)
    await grow(broker.bootstrap, served.user)
    number = 1
    for worker in (two, one) * 5:
        await write(broker.bootstrap, served, user, [number], partition=2)
        await write(broker.bootstrap, served, user, [number + 1], partition=0)
        await client.reconnect(url=worker.events_url)
        number += 2
        await client.wait_for(number)
    assert sorted(client.numbers) == list(range(number))
    assert reasons(client) == []


@pytest.mark.parametrize("fewer", [True, False], ids=["fewer records", "more records"])
@pytest.mark.parametrize("partitions", [BEFORE, 1], ids=["same", "other partitions"])
async def test_recreated_topic_sends_a_gap_to_open_and_resuming_streams(
    set_up: SetUp, broker: Broker, partitions: int, *, fewer: bool
) -> None:
    user, other = user_who_moves(0, 0), user_who_moves(0, 0)
    stage = await set_up(BEFORE, heartbeat_seconds=1)
    client, away = [await stage.open(user) for _ in range(2)]
    await write(broker.bootstrap, stage.topics, user, range(5))
    for each in (client, away):
        await each.wait_for(5)
    await away.drop()

    await recreate(broker.bootstrap, stage.topics.user, partitions)
    if not fewer:
        await write(broker.bootstrap, stage.topics, other, range(20))
    await write(broker.bootstrap, stage.topics, user, range(100, 103))

    await client.wait_for(lambda client: client.own("gap"))
    await client.wait_for(lambda client: 102 in client.numbers)
    await away.reconnect()
    await away.wait_for(lambda client: 102 in client.numbers)
    assert away.numbers == [*range(5), 100, 101, 102]
    assert client.numbers[:5] == [0, 1, 2, 3, 4]
    assert client.numbers[-3:] == [100, 101, 102]
    assert reasons(client) == reasons(away) == ["reset"]
    fresh = await stage.start()
    await client.reconnect(url=fresh.events_url)
    await write(broker.bootstrap, stage.topics, user, [103])
    await client.wait_for(lambda client: 103 in client.numbers)
    assert reasons(client) == ["reset"], "a gap is reported once"


async def test_deleted_topic_is_reported_and_streams_stay_open(
    broker: Broker, topics: MakeTopics, start_worker: StartWorker, open_stream: OpenStream
) -> None:
    served = await topics(1)
    user = new_user()
    worker = await start_worker(served, heartbeat_seconds=1)
    client = await open_stream(worker, user)
    await write(broker.bootstrap, served, user, range(3))
    await client.wait_for(3)
    async with admin_client(broker.bootstrap) as admin:
        await admin.delete_topics([served.user])

    await worker.wait_for_metric("gateway_ready", 0)
    await worker.wait_for_log(f"topic {served.user} missing; create with: ")
    beats = client.heartbeats
    await client.wait_for(lambda client: client.heartbeats > beats + 1)
    async with admin_client(broker.bootstrap) as admin:
        assert served.user not in await admin.list_topics(), "the topic was not recreated"

    await create_topics(broker.bootstrap, [NewTopic(served.user, 1, 1)])
    await write(broker.bootstrap, served, user, [7])
    await client.wait_for(lambda client: client.numbers[-1] == 7)
    assert (client.numbers, reasons(client)) == ([0, 1, 2, 7], ["reset"])
    await worker.wait_until_ready()


async def test_another_cluster_at_the_same_address_leads_to_a_gap(
    tmp_path: Path, open_stream: OpenStream, request: pytest.FixtureRequest
) -> None:
    require_kafka()
    served = Topics("user-events", "broadcast-events")
    port, user = free_port(), new_user()
    made = [NewTopic(served.user, BEFORE, 1), NewTopic(served.broadcast, 1, 1)]
    worker: Worker | None = None
    try:
        async with KafkaNode(tmp_path / "one", port=port) as node:
            await create_topics(node.bootstrap, made)
            settings = worker_settings(served, kafka_bootstrap=node.bootstrap, heartbeat_seconds=1)
            worker = Worker(settings, tmp_path / "log")
            use_worker(request, worker)
            await worker.wait_until_ready()
            client, away = [await open_stream(worker, user) for _ in range(2)]
            await write(node.bootstrap, served, user, range(5))
            for each in (client, away):
                await each.wait_for(5)
            await away.drop()
        async with KafkaNode(tmp_path / "other", port=port) as node:
            await create_topics(node.bootstrap, made)
            await write(node.bootstrap, served, user, range(100, 103))
            await client.wait_for(lambda client: 102 in client.numbers)
            await away.reconnect()
            await away.wait_for(lambda client: 102 in client.numbers)
            for each in (client, away):
                assert each.numbers == [*range(5), 100, 101, 102]
                assert set(reasons(each)) == {"reset"}
    finally:
        if worker is not None:
            worker.end()
