"""The workers and clients of a random history, and what its steps share."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from gateway.core.filter import Selection
from gateway.core.records import LogKind, TopicPartition
from gateway.core.registry import Registry
from tests.core.clients import Client
from tests.core.workers import Worker
from tests.core.world import OTHER, Extra, Setup, World

USERS = (b"a", b"b", b"c", b"ab")
FILTERS = (
    [Selection(frozenset({"ai"}))],
    [Selection(frozenset({"import"}))],
    [Selection(types=frozenset({OTHER}))],
    [Selection(frozenset({"ai", "import"})), Selection(prefixes=("import.", "portfolio."))],
)
GROUPS = (b"w", b"x", b"y", b"z")


class Profile(NamedTuple):
    """Optional steps of a history, besides reading, writing and reconnecting."""

    removal: bool = False
    """Retention and compaction."""
    recreation: bool = False
    growth: bool = False
    """The topic gains partitions."""
    renewal: bool = False
    """Topics are recreated with other tags."""
    hostility: bool = False
    """Ids that are malformed, forged or of another client."""
    sources: bool = False
    """Several user topics and group topics, added to and removed from the configuration."""
    piece: int = 150
    short: int = 3
    step: int = 2000
    """Work in one step of the hub: `gateway.core.budget`."""


class SimulatedFleet:
    """Workers and clients over one simulated Kafka, determined by a seed."""

    def __init__(self, seed: int, profile: Profile, registry: Registry) -> None:
        random = self.random = Random(seed)
        self.profile = profile
        small = random.random() < 0.6
        self.world = World(
            Setup(
                partitions=random.randint(1, 2),
                broadcast=random.random() < 0.8,
                tail_bytes=random.choice([700, 1500, 5000, 1 << 30]),
                max_events=random.choice([1, 3, 5, 20]) if small else 1000,
                max_records=random.choice([5, 15, 50, 5_000_000]) if small else 5_000_000,
                max_age_ms=random.choice([20, 60, 300, 3_600_000]) if small else 3_600_000,
                warm_ms=random.choice([0, 10, 60_000]),
                extras=self._extras() if profile.sources else (),
            ),
            registry,
        )
        for extra in self.world.setup.extras:
            if random.random() < 0.2:
                self.world.hide(extra.name)
            self.world.topics[extra.name].configured = random.random() < 0.7
        self.workers = [Worker(self.world) for _ in range(random.randint(1, 3))]
        self.every_worker = list(self.workers)
        self.clients = [self._client() for _ in range(random.randint(1, 4))]
        self._lost: list[Callable[[], None]] = []
        """Reports of broken connections that workers have not received yet."""

    def _client(self) -> Client:
        random = self.random
        selections = random.choice([(), (), (), (), (), (), *FILTERS])
        since = random.choice([None, None, None, self.world.now - random.randint(0, 50)])
        client = Client(self.world, random.choice(USERS), selections, since)
        for topic in self.world.topics.values():
            if topic.kind is LogKind.GROUP:
                client.groups[topic.name] = self._groups()
        return client

    def _extras(self) -> tuple[Extra, ...]:
        random = self.random
        names = ["orders", "teams", "tenants", "payments"][: random.randint(0, 3) + 1]
        return tuple(
            Extra(
                name,
                LogKind.GROUP if name in ("teams", "tenants") else LogKind.USER,
                random.randint(1, 2),
            )
            for name in names
        )

    def _groups(self) -> list[bytes]:
        return self.random.sample(GROUPS, self.random.randint(0, 3))

    def _log(self) -> TopicPartition:
        return self.random.choice(list(self.world.logs))

    def _notice(self) -> None:
        for notice in self._lost:
            notice()
        self._lost.clear()

    def _replace_worker(self) -> None:
        index = self.random.randrange(len(self.workers))
        self._kill(self.workers[index])
        self.workers[index] = Worker(self.world)
        self.every_worker.append(self.workers[index])

    def _kill(self, worker: Worker) -> None:
        for client in self.clients:
            if client.connection is not None and client.connection.worker is worker:
                client.connection.drop(self.random.choice([0, self.random.randint(0, 600)]))

    def _extra_names(self) -> list[str]:
        return [extra.name for extra in self.world.setup.extras]
