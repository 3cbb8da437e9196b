from __future__ import annotations

import uuid
from pathlib import Path

from gateway.config import Settings
from gateway.kafka.client.options import connection_options
from gateway.kafka.topics import TopicSpec, connected, create, missing_rights
from tests.brokers.kafka import KafkaNode
from tests.conftest import Broker
from tests.programs import require


async def test_where_no_rights_are_checked_none_is_missing(broker: Broker) -> None:
    options = connection_options(Settings(kafka_bootstrap=(broker.bootstrap,)))
    names = [f"rights-{uuid.uuid4().hex[:8]}" for _ in range(3)]
    await create(options, [TopicSpec(name) for name in names[:2]])
    async with connected(options) as client:
        cluster = await client.describe(names)
        assert await missing_rights(client, cluster, names) == {}


async def test_asking_for_rights_on_a_topic_does_not_create_it(tmp_path: Path) -> None:
    require("java", "mvn")
    async with KafkaNode(tmp_path, auto_create_topics=True) as node:
        options = connection_options(Settings(kafka_bootstrap=(node.bootstrap,)))
        async with connected(options) as client:
            for _ in range(2):
                cluster = await client.describe(["missing"])
                assert cluster.partitions == {}
                assert await missing_rights(client, cluster, ["missing"]) == {}
