"""One worker for all clients, on the embedded broker, that lets them feel everything soon."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
import pytest_asyncio

from tests.conftest import make_topics, use_worker, worker_settings
from tests.integration.conftest import new_user
from tests.records import RecordWriter, Topics
from tests.relay import Relay
from tests.worker import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiokafka import AIOKafkaProducer

    from tests.conftest import Broker

MAX_EVENTS = 100
"""That a client may have missed before it is told of a gap."""

SETTINGS = {
    "retry_ms": 100,
    "heartbeat_seconds": 0.5,
    "replay_max_events": MAX_EVENTS,
    "sharding": "redirect",
}


class Served(NamedTuple):
    """A worker, and the topics that it serves."""

    worker: Worker
    topics: Topics


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def served(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    topics = await make_topics(broker)
    settings = worker_settings(topics, kafka_bootstrap=broker.bootstrap, **SETTINGS)
    worker = Worker(settings, tmp_path_factory.mktemp("worker") / "log")
    try:
        await worker.wait_until_ready()
        yield Served(worker, topics)
    finally:
        worker.end()


@pytest.fixture
def worker(served: Served, request: pytest.FixtureRequest) -> Worker:
    use_worker(request, served.worker)
    return served.worker


@pytest.fixture
def write(served: Served, producer: AIOKafkaProducer) -> RecordWriter:
    return RecordWriter(producer, served.topics)


@pytest.fixture
def user() -> str:
    return new_user()


@pytest.fixture
async def relay(worker: Worker) -> AsyncIterator[Relay]:
    """The network between a client and the worker."""
    async with Relay(worker.port) as passing:
        yield passing
