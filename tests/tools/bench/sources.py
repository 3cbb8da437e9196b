"""One topic or several at the same rate in sum: CPU for each event from Kafka to the socket."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import NamedTuple

from aiokafka.admin import NewTopic

from tests.brokers.metadata import create_topics
from tests.tools.bench.audience import Audience, audience
from tests.tools.bench.delivery import P50, P99, Delivered, Pace
from tests.tools.bench.figures import Quantity, Sample
from tests.tools.bench.ground import PARTITIONS, Ground
from tests.tools.bench.helper import Helper, helper
from tests.tools.bench.pacing import Order, Written
from tests.tools.bench.process import cpu_seconds

ONE = Quantity("CPU for one event, one topic", "µs")
SEVERAL = Quantity("CPU for one event, several topics", "µs")
GROWTH = Quantity("CPU for one event, several topics over one", "")


class SourceTopics(NamedTuple):
    """User topics, and the file that declares them."""

    names: tuple[str, ...]
    file: str

    @property
    def settings(self) -> dict[str, str]:
        """The environment of a worker that serves them."""
        return {
            "GATEWAY_SOURCES": self.file,
            "GATEWAY_REVOCATIONS_TOPIC": "",
            "GATEWAY_WORKERS_TOPIC": "",
        }


@dataclass(frozen=True)
class Sources:
    """The same users, producers and events in one topic, and in `topics`.

    Each user's events are in one topic.
    """

    pace: Pace
    streams: int
    topics: int = 4

    @property
    def title(self) -> str:
        return f"{self.pace.rate:,.0f} events/s to {self.streams:,} users, in {self.topics} topics"

    async def measure(self, ground: Ground) -> Sample:
        """Measure a worker with one topic, then one with several."""
        one = await self._deliver(ground, 1)
        several = await self._deliver(ground, self.topics)
        return {
            ONE: one.cpu,
            SEVERAL: several.cpu,
            GROWTH: several.cpu / one.cpu,
            P50: several.tally.latency_ms(0.5),
            P99: several.tally.latency_ms(0.99),
        }

    async def _deliver(self, ground: Ground, count: int) -> Delivered:
        topics = await _create(ground, count)
        users = self.streams // self.topics
        targets = topics.names * (self.topics // count)  # as many producers, whatever the topics
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(ground.worker(topics))
            writers = [
                await stack.enter_async_context(
                    helper("load", ground.bootstrap, topic, number * users, users)
                )
                for number, topic in enumerate(targets)
            ]
            clients = await stack.enter_async_context(audience(server.port, self.streams))
            pace = replace(self.pace, rate=self.pace.rate / self.topics)
            await self._write(writers, clients, Order(pace.rate, pace.warm_up))
            before = cpu_seconds(server.pid)
            delivered = await self._write(writers, clients, Order(pace.rate, pace.seconds))
            spent = cpu_seconds(server.pid) - before
            return delivered._replace(cpu=spent / delivered.tally.events * 1e6)

    @staticmethod
    async def _write(writers: list[Helper], clients: Audience, order: Order) -> Delivered:
        written = await asyncio.gather(*(writer.ask(order, Written) for writer in writers))
        tally = await clients.collect(sum(each.events for each in written))
        return Delivered(tally, 0, sum(each.rate for each in written))


async def _create(ground: Ground, count: int) -> SourceTopics:
    names = tuple(f"source-{uuid.uuid4().hex[:8]}" for _ in range(count))
    await create_topics(ground.bootstrap, [NewTopic(name, PARTITIONS, 1) for name in names])
    file = ground.folder / f"sources-{names[0]}.toml"
    file.write_text("".join(f'[[source]]\ntopic = "{name}"\n' for name in names))
    return SourceTopics(names, str(file))
