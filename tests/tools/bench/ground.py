"""The test bed of a round: a running broker, new topics and a new worker."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from aiokafka.admin import NewTopic

from tests.brokers.metadata import create_topics
from tests.records import Topics, WithSettings
from tests.tokens import SECRET
from tests.tools.bench.figures import Sample
from tests.tools.bench.server import Server
from tests.worker import Worker

PARTITIONS = 12
"""Partitions of the user topic: a typical first choice."""


class Ground(NamedTuple):
    """Broker addresses, and a folder for logs."""

    bootstrap: str
    folder: Path

    async def topics(self, partitions: int = PARTITIONS) -> Topics:
        """Create new topics, so that rounds do not share records."""
        name = uuid.uuid4().hex[:8]
        topics = Topics(f"user-events-{name}", f"broadcast-events-{name}")
        await create_topics(
            self.bootstrap, [NewTopic(topics.user, partitions, 1), NewTopic(topics.broadcast, 1, 1)]
        )
        return topics

    @asynccontextmanager
    async def worker(self, topics: WithSettings, **settings: str | None) -> AsyncIterator[Server]:
        """Run a new worker while the block runs.

        Settings are the defaults, except the heartbeat (none is due during a measurement) and the
        given ones; None leaves a setting out.
        """
        every = {
            **topics.settings,
            "GATEWAY_KAFKA_BOOTSTRAP": self.bootstrap,
            "GATEWAY_JWT_SECRET": SECRET,
            "GATEWAY_HEARTBEAT_SECONDS": "600",
            "GATEWAY_DRAIN_SECONDS": "0",
            **settings,
        }
        worker = Worker(
            {name: value for name, value in every.items() if value is not None},
            self.folder / f"worker-{uuid.uuid4().hex}.log",
        )
        try:
            await worker.wait_until_ready()
            if number := every.get("GATEWAY_WORKERS"):
                await worker.wait_for_metric("gateway_worker_processes", int(number), state="up")
            yield Server(worker.port, worker.pid, worker.ops_port)
        finally:
            worker.end()


class Row(Protocol):
    """A measurement."""

    @property
    def title(self) -> str:
        """Short description."""

    async def measure(self, ground: Ground) -> Sample:
        """Measure once. Raises `Void` if the delivered events differ from the written ones."""
