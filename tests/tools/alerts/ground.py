"""The test bed of the faults: a broker, workers, and a Prometheus that scrapes them.

Two workers have equal settings. The third one gets its keys from a URL.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from gateway.core.records import TopicPartition
from tests.brokers.batches import Row, batch
from tests.brokers.kafka import KafkaNode
from tests.brokers.metadata import create_topics
from tests.brokers.raw import write_batch
from tests.conftest import worker_settings
from tests.eventually import DEADLINE, eventually
from tests.integration.poison import now, user_of
from tests.issuer import KeyUrl, SigningKey, published
from tests.masses import Comer, come, leaving
from tests.records import RecordWriter, Topics, envelope
from tests.tools.alerts.prometheus import Prometheus, instance
from tests.worker import Worker

TOPICS = Topics("user-events", "broadcast-events")
PARTITIONS = 2
LOG = TopicPartition(TOPICS.user, 0)
"""Partition of all users of the faults, so an id is valid for each of them."""

MAX_STREAMS = 100
SETTINGS = {
    "max_streams": MAX_STREAMS,
    "slow_seconds": 1,
    "tail_bytes": 50_000,
    "tail_warm_seconds": 0,
    "replay_max_records": 100_000_000,
}
OPEN_SECONDS = DEADLINE


class Ground:
    """All running parts; `node` is set if the broker is an Apache Kafka that can be stopped."""

    def __init__(self, folder: Path, bootstrap: str, node: KafkaNode | None) -> None:
        self.bootstrap = bootstrap
        self._folder = folder
        self._node = node
        self.workers: list[Worker] = []
        """All started workers, including ended ones."""
        self.key = SigningKey("ES256", "first")
        self.provider: KeyUrl
        self.prometheus: Prometheus
        self.first: Worker
        self.second: Worker
        self.keyed: Worker

    @property
    def node(self) -> KafkaNode:
        assert self._node is not None, "this fault needs Apache Kafka"
        return self._node

    async def start(
        self, former: Worker | None = None, module: str = "gateway", **settings: object
    ) -> Worker:
        """Start a worker on the ports of an ended one; return when it is ready."""
        worker = self._launch(former, settings, module)
        await worker.wait_until_ready()
        return worker

    async def restart_second(self) -> None:
        """Kill and restart the second worker; return when Prometheus observed it."""
        query = f'process_start_time_seconds{{instance="{instance(self.second)}"}}'
        before = await self.prometheus.value(query)
        self.second.kill()
        self.second = self._launch(self.second, {})

        async def seen() -> bool:
            return await self.prometheus.value(query) not in (None, before)

        await eventually("Prometheus observed the restart", seen, OPEN_SECONDS)

    def _launch(
        self, former: Worker | None, settings: Mapping[str, object], module: str = "gateway"
    ) -> Worker:
        environment = worker_settings(
            TOPICS, **{"kafka_bootstrap": self.bootstrap, **SETTINGS, **settings}
        )
        log = self._folder / f"worker-{len(self.workers)}.log"
        worker = Worker(environment, log, former, module=module)
        with suppress(PermissionError):  # a busy machine would fire the alerts of a late worker
            os.setpriority(os.PRIO_PROCESS, worker.pid, -10)
        self.workers.append(worker)
        return worker

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[RecordWriter]:
        """Yield a producer with the current topic metadata."""
        async with AIOKafkaProducer(bootstrap_servers=self.bootstrap) as producer:
            yield RecordWriter(producer, TOPICS)

    @asynccontextmanager
    async def crowd(
        self, number: int, *, silent: bool = False, last_id: str = "", user: str = ""
    ) -> AsyncIterator[list[Comer]]:
        """Connect clients to the first worker, each with another user unless `user` is given."""
        comers = [
            Comer(user or user_of(LOG.partition, PARTITIONS), silent=silent, last_id=last_id)
            for _ in range(number)
        ]
        with leaving(comers):
            await come(self.first.port, comers)
            yield comers

    @asynccontextmanager
    async def followed(self, number: int = 1, user: str = "") -> AsyncIterator[str]:
        """Keep streams open; yield the last id of one of them."""
        async with self.crowd(number, user=user) as comers:
            await eventually(
                "all follow",
                lambda: all(b"\nid: " in comer.received for comer in comers),
                OPEN_SECONDS,
            )
            yield comers[0].last_id

    async def write_noise(self, records: int, age_ms: int = 0) -> int:
        """Write events of another user and return the end offset."""
        other = user_of(LOG.partition, PARTITIONS)
        rows = [Row(other.encode(), envelope(other))] * records
        await write_batch(self.bootstrap, LOG, batch(rows, timestamp=now() - age_ms))
        async with self.writing() as write:
            return int((await write.event(other)).offset) + 1


async def make_topics(bootstrap: str) -> None:
    await create_topics(
        bootstrap, [NewTopic(TOPICS.user, PARTITIONS, 1), NewTopic(TOPICS.broadcast, 1, 1)]
    )


@asynccontextmanager
async def ground(
    folder: Path, bootstrap: str, node: KafkaNode | None = None
) -> AsyncIterator[Ground]:
    """Run the workers and Prometheus while the block runs."""
    made = Ground(folder, bootstrap, node)
    await make_topics(bootstrap)
    async with published(made.key) as made.provider:
        try:
            # Sequentially: three concurrent starts take long on a busy machine.
            made.first = await made.start()
            made.second = await made.start()
            made.keyed = await made.start(jwt_jwks_url=made.provider.url)
            async with Prometheus(folder / "prometheus", made.workers) as made.prometheus:
                yield made
        finally:
            for worker in made.workers:
                worker.kill()
