from __future__ import annotations

import uuid

import pytest

from gateway.config import Settings
from gateway.errors import BrokerError
from gateway.kafka.topics import (
    TopicSpec,
    compactions,
    connected,
    create,
    creation_command,
    describe,
    retentions,
    topic_specs,
)
from tests.child import free_port
from tests.conftest import Broker


def fresh_name() -> str:
    return f"topics-{uuid.uuid4().hex[:8]}"


async def test_what_is_created_is_described_and_nothing_else(broker: Broker) -> None:
    options = {"bootstrap_servers": [broker.bootstrap]}
    one, many, missing = fresh_name(), fresh_name(), fresh_name()
    await create(options, [TopicSpec(one, compacted=True), TopicSpec(many, 5)])
    cluster = await describe(options, [one, many, missing])
    assert cluster.cluster_id
    assert cluster.partitions == {one: 1, many: 5}


async def test_asking_for_a_topic_does_not_create_it(broker: Broker) -> None:
    options = {"bootstrap_servers": [broker.bootstrap]}
    name = fresh_name()
    for _ in range(2):
        assert (await describe(options, [name])).partitions == {}


async def test_a_topic_that_exists_is_left_as_it_is(broker: Broker) -> None:
    options = {"bootstrap_servers": [broker.bootstrap]}
    name = fresh_name()
    await create(options, [TopicSpec(name, 2)])
    await create(options, [TopicSpec(name, 7)])
    assert (await describe(options, [name])).partitions == {name: 2}


async def test_refusal_names_the_cause(broker: Broker) -> None:
    if broker.kind == "embedded":
        pytest.skip("the embedded broker takes any name")
    with pytest.raises(BrokerError, match="no/name"):
        await create({"bootstrap_servers": [broker.bootstrap]}, [TopicSpec("no/name")])


async def test_retention_is_returned_if_the_broker_reports_it(broker: Broker) -> None:
    options = {"bootstrap_servers": [broker.bootstrap]}
    name = fresh_name()
    await create(options, [TopicSpec(name)])
    week = 7 * 24 * 3600 * 1000
    async with connected(options) as client:
        kept = await retentions(client, [name, "missing"])
        assert kept == ({name: week} if broker.kind == "kafka" else {})


async def test_compaction_is_returned_if_the_broker_reports_it(broker: Broker) -> None:
    options = {"bootstrap_servers": [broker.bootstrap]}
    compacted, plain = fresh_name(), fresh_name()
    await create(options, [TopicSpec(compacted, compacted=True), TopicSpec(plain)])
    async with connected(options) as client:
        found = await compactions(client, [compacted, plain])
        assert found == ({compacted: True, plain: False} if broker.kind == "kafka" else {})


async def test_a_broker_that_is_away_is_named() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(BrokerError, match=address):
        await describe({"bootstrap_servers": [address]}, ["any"])


def test_a_topic_that_is_switched_off_is_not_wanted() -> None:
    settings = Settings(broadcast_topic="", workers_topic="")
    assert topic_specs(settings) == [
        TopicSpec("user-events", 12),
        TopicSpec("gateway-revocations", 1, compacted=True),
    ]


@pytest.mark.parametrize(
    ("spec", "ending"),
    [
        (TopicSpec("user-events", 12), "--topic user-events --partitions 12"),
        (
            TopicSpec("state", compacted=True),
            "--topic state --partitions 1 --config cleanup.policy=compact",
        ),
    ],
)
def test_the_command_that_creates_a_topic(spec: TopicSpec, ending: str) -> None:
    command = creation_command(spec, {"bootstrap_servers": ["kafka:9092"]})
    assert command == f"kafka-topics.sh --bootstrap-server kafka:9092 --create {ending}"
