"""The test bed of a drill: Kafka, sharded workers, nginx, a writer and clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiokafka.admin import NewTopic

from tests.balancers.shipped import Nginx
from tests.brokers.kafka import KafkaNode
from tests.brokers.metadata import create_topics
from tests.conftest import compacted, worker_settings
from tests.eventually import eventually
from tests.records import Topics
from tests.tools.bench.helper import Helper, helper
from tests.tools.bench.pacing import Order, Written
from tests.tools.fleet.crowd import Crowd, crowd
from tests.tools.fleet.visitor import Sightings
from tests.worker import Worker

TOPICS = Topics("user-events", "broadcast-events", workers="gateway-workers")
PARTITIONS = 48
LOOK_SECONDS = 0.1
WRITE_SECONDS = 0.5
COME_SECONDS = 120.0
QUIET_SECONDS = 60.0
"""Limit for the last event after the last write."""


class Fleet:
    """Running workers, nginx and clients."""

    def __init__(
        self,
        folder: Path,
        settings: dict[str, str],
        workers: list[Worker],
        people: Crowd,
        load: Helper,
    ) -> None:
        self.workers = workers
        self.crowd = people
        self._folder = folder
        self._settings = settings
        self._load = load
        self._renewed = 0
        self.written = 0

    async def renew(self, place: int) -> None:
        """Start a worker on the ports of an ended one."""
        self._renewed += 1
        output = self._folder / f"renewed-{self._renewed}.log"
        self.workers[place] = Worker(self._settings, output, self.workers[place])
        await self.workers[place].wait_until_ready()

    @asynccontextmanager
    async def writing(self, rate: float) -> AsyncIterator[None]:
        """Write events at a rate while the block runs; `written` counts them."""
        enough = asyncio.Event()

        async def write() -> None:
            while not enough.is_set():
                answer = await self._load.ask(Order(rate, WRITE_SECONDS), Written)
                self.written += answer.events

        task = asyncio.create_task(write())
        try:
            yield
        finally:
            enough.set()
            await task

    async def until_all_follow(self, visitors: int, seconds: float) -> float:
        """Return the seconds until this number of streams is live."""
        begin = time.monotonic()

        async def followed() -> bool:
            await asyncio.sleep(LOOK_SECONDS)
            return (await self.crowd.sightings()).following == visitors

        try:
            await eventually(f"{visitors} streams are followed", followed, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}: {await self.crowd.sightings()}") from None
        return time.monotonic() - begin

    async def until_all_came(self) -> Sightings:
        """Return the totals once all written events arrived, or after the limit."""
        deadline = time.monotonic() + QUIET_SECONDS
        while True:
            seen = await self.crowd.sightings()
            if seen.events >= self.written or time.monotonic() > deadline:
                return seen
            await asyncio.sleep(LOOK_SECONDS)

    def tracebacks(self) -> int:
        """Return the number of worker logs with a traceback; must be 0."""
        return sum("Traceback" in log.read_text() for log in self._folder.glob("*.log"))


@asynccontextmanager
async def fleet(
    folder: Path, workers: int, visitors: int, **settings: object
) -> AsyncIterator[Fleet]:
    """Run workers and connect clients; all streams are live on entry."""
    folder.mkdir(exist_ok=True)  # noqa: ASYNC240 - short, and no other task runs yet
    async with KafkaNode(folder / "kafka") as node:
        await create_topics(
            node.bootstrap,
            [
                NewTopic(TOPICS.user, PARTITIONS, 1),
                NewTopic(TOPICS.broadcast, 1, 1),
                compacted(TOPICS.workers),
            ],
        )
        environment = worker_settings(
            TOPICS,
            **{
                "kafka_bootstrap": node.bootstrap,
                "sharding": "redirect",
                "log_level": "warning",
                **settings,
            },
        )
        running: list[Worker] = []
        try:
            logs = [folder / f"worker-{number}.log" for number in range(workers)]
            running.extend(Worker(environment, log) for log in logs)
            for worker in running:
                await worker.wait_until_ready()
            home = folder / "nginx"
            home.mkdir()
            arguments = (node.bootstrap, TOPICS.user, 0, visitors)
            async with (
                Nginx(home, running) as nginx,
                crowd(nginx.plain_port, visitors) as people,
                helper("load", *arguments) as load,
            ):
                made = Fleet(folder, environment, running, people, load)
                await made.until_all_follow(visitors, COME_SECONDS)
                yield made
        finally:
            for worker in running:
                worker.kill()
