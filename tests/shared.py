"""A worker that the tests of a folder share: each test has its own users."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from tests.conftest import PARTITIONS, Broker, make_topics, worker_settings
from tests.records import Topics
from tests.worker import Worker


class Shared(NamedTuple):
    """A worker that tests share, and the topics that it serves."""

    worker: Worker
    topics: Topics


@asynccontextmanager
async def sharing(
    broker: Broker, folder: Path, partitions: int = PARTITIONS, **settings: object
) -> AsyncIterator[Shared]:
    """Run a worker with these settings on its own topics; its log is in the folder."""
    topics = await make_topics(broker, partitions)
    worker = Worker(
        worker_settings(topics, kafka_bootstrap=broker.bootstrap, **settings), folder / "log"
    )
    try:
        await worker.wait_until_ready()
        yield Shared(worker, topics)
    finally:
        worker.end()
