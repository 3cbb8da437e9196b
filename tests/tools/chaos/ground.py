"""The test bed: three brokers and two workers, and how each fault is caused."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from aiokafka.admin import NewTopic

from tests.brokers.cluster import NODES, Cluster
from tests.brokers.metadata import create_topics
from tests.conftest import worker_settings
from tests.records import Topics
from tests.tools.chaos.schedule import WORKERS, Fault, Kind
from tests.worker import Worker

PARTITIONS = 6
TOPICS = Topics("user-events", "broadcast-events")


class Injected(NamedTuple):
    """An executed fault and its times (`time.monotonic()`)."""

    fault: Fault
    began: float
    ended: float


class Ground:
    """Brokers and workers, running while the `async with` block runs."""

    def __init__(self, folder: Path) -> None:
        self.cluster = Cluster(folder)
        self.workers: list[Worker] = []
        """Two; a replacement of a killed one uses another port."""
        self.injected: list[Injected] = []
        self._folder = folder
        self._started = 0

    async def __aenter__(self) -> Self:
        await self.cluster.__aenter__()
        try:
            await create_topics(
                self.cluster.bootstrap,
                [NewTopic(TOPICS.user, PARTITIONS, 3), NewTopic(TOPICS.broadcast, 1, 3)],
            )
            self.workers = [self._start_worker() for _ in WORKERS]
            for worker in self.workers:
                await worker.wait_until_ready()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for worker in self.workers:
            worker.kill()
        await self.cluster.__aexit__(kind, error, traceback)

    async def inject(self, fault: Fault) -> None:
        """Cause the fault, undo it after its time, and wait for full recovery."""
        began = time.monotonic()
        if fault.kind.of_broker:
            await self._fail_broker(fault)
        else:
            await self._fail_worker(fault)
        self.injected.append(Injected(fault, began, time.monotonic()))

    async def _fail_broker(self, fault: Fault) -> None:
        cluster, node = self.cluster, fault.target
        match fault.kind:
            case Kind.BROKER_KILLED:
                cluster.kill(node)
                await asyncio.sleep(fault.lasts)
                await cluster.start(node)
            case Kind.BROKER_FROZEN:
                cluster.freeze(node)
                await asyncio.sleep(fault.lasts)
                cluster.thaw(node)
            case Kind.BROKERS_KILLED:
                cluster.kill(*NODES)
                await asyncio.sleep(fault.lasts)
                await cluster.start(*NODES)
            case _:
                await cluster.restart(node)
        await cluster.wait_until_in_step(TOPICS.user, *NODES)

    async def _fail_worker(self, fault: Fault) -> None:
        worker = self.workers[fault.target]
        match fault.kind:
            case Kind.WORKER_KILLED:
                worker.kill()
                await asyncio.sleep(fault.lasts)
            case Kind.WORKER_FROZEN:
                worker.signal(signal.SIGSTOP)
                await asyncio.sleep(fault.lasts)
                worker.signal(signal.SIGCONT)
                return
            case _:
                await asyncio.to_thread(worker.end)
        self.workers[fault.target] = self._start_worker()

    def _start_worker(self) -> Worker:
        self._started += 1
        settings = worker_settings(
            TOPICS, kafka_bootstrap=self.cluster.bootstrap, heartbeat_seconds=1
        )
        return Worker(settings, self._folder / f"worker-{self._started}.log")

    def tracebacks(self) -> int:
        """Return the number of worker logs with a traceback; must be 0."""
        return sum("Traceback" in log.read_text() for log in self._folder.glob("worker-*.log"))
