"""One worker for all clients, that beats every second and takes tokens wherever they stand."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, NamedTuple

import pytest
import pytest_asyncio

from tests.conftest import make_topics, use_worker, worker_settings
from tests.javascript.relay import Relay
from tests.records import RecordWriter, Topics
from tests.worker import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiokafka import AIOKafkaProducer

    from tests.conftest import Broker


class Shared(NamedTuple):
    worker: Worker
    topics: Topics


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shared]:
    topics = await make_topics(broker, 1)
    settings = worker_settings(
        topics,
        kafka_bootstrap=broker.bootstrap,
        heartbeat_seconds=0.5,
        retry_ms=100,
        token_cookie="token",
        token_query="true",
    )
    worker = Worker(settings, tmp_path_factory.mktemp("worker") / "log")
    try:
        await worker.wait_until_ready()
        yield Shared(worker, topics)
    finally:
        worker.end()


@pytest.fixture
def worker(shared: Shared, request: pytest.FixtureRequest) -> Worker:
    use_worker(request, shared.worker)
    return shared.worker


@pytest.fixture
def write(shared: Shared, producer: AIOKafkaProducer) -> RecordWriter:
    return RecordWriter(producer, shared.topics)


@pytest.fixture
def user() -> str:
    return new_user()


def new_user() -> str:
    """Return a user that nobody else is."""
    return f"user-{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def relay(worker: Worker) -> AsyncIterator[Relay]:
    async with Relay(worker.port) as started:
        yield started
