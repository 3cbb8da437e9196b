"""A publisher with a separate topic, for tests of batches that a broker rejects."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from gateway.errors import PublishError
from gateway.publisher import EventPublisher
from tests.conftest import Broker
from tests.kafka.test_publisher import records_of

only_kafka = pytest.mark.parametrize("broker", ["kafka"], indirect=True, scope="session")
BIG = "x" * 50_000


class Bench:
    """A topic with one partition, and a publisher that writes to it."""

    def __init__(self, broker: Broker, publisher: EventPublisher, topic: str) -> None:
        self.broker = broker
        self.publisher = publisher
        self.topic = topic

    async def publish(self, data: object) -> str | None:
        return await self.publisher.publish("alice", "import.progress", data)

    async def attempt(self, data: object) -> str | PublishError | None:
        try:
            return await self.publish(data)
        except PublishError as error:
            return error

    async def written(self) -> list[Any]:
        """Return the data of all events in the topic, in order."""
        records = await records_of(self.broker, self.topic, 1)
        return [json.loads(record.value)["data"] for record in records]

    async def configure(self, **configs: str) -> None:
        async with administrating(self.broker.bootstrap) as admin:
            named = {name.replace("_", "."): value for name, value in configs.items()}
            resource = ConfigResource(ConfigResourceType.TOPIC, self.topic, configs=named)
            await admin.alter_configs([resource])

    @property
    def producer_id(self) -> int:
        connection = self.publisher._producer._connection  # noqa: SLF001
        assert connection is not None
        producer = connection[1]._producer  # noqa: SLF001
        assert producer is not None
        return producer.id


@asynccontextmanager
async def administrating(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


@asynccontextmanager
async def bench(
    broker: Broker, configs: dict[str, str] | None = None, **options: Any
) -> AsyncIterator[Bench]:
    topic = f"refused-{uuid.uuid4().hex[:8]}"
    async with administrating(broker.bootstrap) as admin:
        await admin.create_topics([NewTopic(topic, 1, 1, topic_configs=configs)])
    async with EventPublisher(broker.bootstrap, topic=topic, **options) as publisher:
        yield Bench(broker, publisher, topic)
