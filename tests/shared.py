"""A worker that the tests of a folder share: each test has its own users."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from tests.conftest import PARTITIONS, make_topics, worker_settings
from tests.worker import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.conftest import Broker
    from tests.records import Topics


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
