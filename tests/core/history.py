"""A random history of a fleet, determined by a seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from gateway.core.event_id import CursorEntry, encode, short_tag
from gateway.core.filter import Selection
from gateway.core.gap import CloseReason
from gateway.core.records import LogKind, OffsetPosition, TopicPartition
from gateway.core.registry import Registry
from gateway.core.stream import State
from tests.core.clients import Client
from tests.core.consistency import assert_consistent
from tests.core.judge import judge
from tests.core.workers import Worker
from tests.core.world import BROADCAST_TOPIC, DATA, OTHER, USER_TOPIC, Extra, Setup, World

STEPS = 45
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


class History:
    """One random history; `run` executes and judges it."""

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
        steps: list[tuple[int, Callable[[], None]]] = [
            (12, self._write),
            (10, self._poll),
            (12, self._scan),
            (12, self._work),
            (8, self._connect),
            (6, self._drop),
            (3, self._stall),
            (4, self._drain),
            (2, self._notice),
            (2, self._tick),
            (1, self._sweep),
            (1, self._restart),
            (1, self._replace_worker),
            (1, self._close),
            (1, self._go_back),
        ]
        if profile.removal:
            steps += [(2, self._trim), (1, self._compact)]
        if profile.recreation:
            steps += [(2, self._recreate)]
        if profile.growth:
            steps += [(2, self._grow), (2, self._refresh_topics)]
        if profile.renewal:
            steps += [(1, self._recreate_topics), (2, self._refresh_topics)]
        if profile.sources:
            steps += [(2, self._reconfigure), (2, self._regroup), (2, self._appear)]
            steps += [(2, self._grow_one), (1, self._recreate_one), (3, self._refresh_topics)]
            steps += [(2, self._vanish)]
        if profile.hostility:
            steps += [(1, self._garbage), (1, self._fail_over), (1, self._forge), (1, self._steal)]
        self._steps = [step for _, step in steps]
        self._weights = [weight for weight, _ in steps]

    def run(self) -> None:
        for _ in range(self.random.randint(0, 12)):
            self._write()
        for step in self.random.choices(self._steps, self._weights, k=STEPS):
            step()
            for worker in self.workers:
                assert_consistent(worker)
        self._come_to_rest()
        for client in self.clients:
            judge(client)

    def _come_to_rest(self) -> None:
        """Reconnect every client, first during other steps, then until all is idle."""
        self._notice()
        for topic in self.world.topics.values():
            topic.visible = True
        for last in (False, True):
            for client in self.clients:
                if client.connection is not None:
                    client.connection.drain()
                if client.connection is None:
                    client.connect(self.random.choice(self.workers))
            if not last:
                for step in self.random.choices(
                    (self._write, self._poll, self._scan, self._work), k=15
                ):
                    step()
            for worker in self.workers:
                worker.settle()
                assert_consistent(worker)
        for client in self.clients:
            connection = client.connection
            if connection is None:  # a cut that was reached only now
                connection = client.connect(self.workers[0])
                self.workers[0].settle()
            assert connection.stream is not None
            stream = connection.stream
            assert stream.state in (State.LIVE, State.LAGGING)
            for feed, state in stream.catching_up.items():
                # At the end of a partition whose last offsets are empty.
                position = state.position
                assert isinstance(position, OffsetPosition)
                assert position.offset <= self.world.logs[feed.log].end

    # Steps.

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

    def _write(self) -> None:
        random = self.random
        for _ in range(random.randint(1, 4)):
            self.world.now += random.choice([0, 0, 1, 3, 20])
            key: bytes | None
            if self.world.setup.broadcast and random.random() < 0.2:
                log, key = TopicPartition(BROADCAST_TOPIC, 0), None
            else:
                name = random.choice([*USERS, b"a", b"norman"])
                topic = self.world.topics[USER_TOPIC]
                if self.profile.sources:
                    keyed = [t for t in self.world.topics.values() if t.exists]
                    topic = random.choice([t for t in keyed if t.kind is not LogKind.BROADCAST])
                    if topic.kind is LogKind.GROUP:
                        name = random.choice(GROUPS)
                key = topic.key.key(name)
                log, *former = topic.logs([name])
                stale = self.world.now < topic.grown + self.world.setup.stale_ms
                if former and stale and random.random() < 0.4:
                    log = former[0]
            self.world.write(
                log,
                key,
                hole=random.choice([0, 0, 0, 1, random.choice([2, 9])]),
                event_type=random.choice([DATA, DATA, DATA, OTHER, None]),
            )

    def _poll(self) -> None:
        self.random.choice(self.workers).poll(self.random)

    def _work(self) -> None:
        worker = self.random.choice(self.workers)
        for _ in range(self.random.randint(1, 6)):
            worker.work()

    def _scan(self) -> None:
        worker = self.random.choice(self.workers)
        if worker.requested and self.random.random() < 0.5:
            worker.activate()
        for _ in range(self.random.randint(1, 4)):
            if worker.scans and (not worker.woken or self.random.random() < 0.7):
                feed = self.random.choice(list(worker.scans))
                worker.step(feed, interrupt=self.random.random() < 0.1)
            elif worker.woken:
                feed = self.random.choice(list(worker.woken))
                worker.begin_scan(feed, self.random)
                if feed in worker.scans:
                    worker.step(feed)

    def _connect(self) -> None:
        random = self.random
        for client in self.clients:
            if client.connection is None and random.random() < 0.6:
                client.connect(
                    random.choice(self.workers),
                    kafka=random.random() < 0.85,
                    room=random.randint(0, 900) if random.random() < 0.2 else None,
                    cut=random.randint(0, 1500) if random.random() < 0.3 else None,
                )

    def _drop(self) -> None:
        connection = self.random.choice(self.clients).connection
        if connection is not None:
            connection.drop(self.random.choice([0, self.random.randint(0, 600), 1 << 30]))
            if self.random.random() < 0.5:
                connection.lost()
            else:
                self._lost.append(connection.lost)

    def _notice(self) -> None:
        for notice in self._lost:
            notice()
        self._lost.clear()

    def _stall(self) -> None:
        connection = self.random.choice(self.clients).connection
        if connection is not None:
            connection.stall(self.random.randint(0, 500))

    def _drain(self) -> None:
        connection = self.random.choice(self.clients).connection
        if connection is not None:
            connection.drain()

    def _tick(self) -> None:
        self.world.now += self.random.choice([10, 100, 400])
        for worker in self.workers:
            worker.hub.tick(self.world.moment)

    def _sweep(self) -> None:
        self.random.choice(self.workers).sweep()

    def _restart(self) -> None:
        worker = self.random.choice(self.workers)
        for feed in list(worker.positions):
            if self.random.random() < 0.5:
                worker.restart(feed)

    def _replace_worker(self) -> None:
        index = self.random.randrange(len(self.workers))
        self._kill(self.workers[index])
        self.workers[index] = Worker(self.world)
        self.every_worker.append(self.workers[index])

    def _kill(self, worker: Worker) -> None:
        for client in self.clients:
            if client.connection is not None and client.connection.worker is worker:
                client.connection.drop(self.random.choice([0, self.random.randint(0, 600)]))

    def _close(self) -> None:
        connection = self.random.choice(self.clients).connection
        if connection is not None:
            assert connection.stream is not None
            hub = connection.worker.hub
            hub.close(connection.stream, CloseReason.DRAINING, self.world.moment, 10)

    def _go_back(self) -> None:
        client = self.random.choice(self.clients)
        if client.connection is None:
            client.go_back(self.random.randint(0, 9))

    def _trim(self) -> None:
        log = self._log()
        kafka = self.world.logs[log]
        start = self.random.randint(kafka.start, kafka.end)
        for client in self.clients:
            client.before_trimming(log, start)
        kafka.trim(start)

    def _compact(self) -> None:
        kafka = self.world.logs[self._log()]
        if kafka.records:
            kafka.compact(self.random.randrange(len(kafka.records)))

    def _recreate(self) -> None:
        if self.random.random() < 0.5:
            log = self._log()
            for client in self.clients:
                for worker in self.workers:
                    client.before_recreation(log, worker, self.world.epoch + 1)
            end = self.world.logs[log].end
            self.world.recreate(log)
            if end and self.random.random() < 0.5:
                # As long as the old one: only timestamps distinguish the two.
                key = None if log.topic == BROADCAST_TOPIC else bytes([96 + 2 - log.partition])
                self.world.write(log, key)
                if end > 1:
                    self.world.write(log, key, hole=end - 2)
            for worker in self.workers:
                if log in worker.hub.feeds:
                    worker.restart(worker.hub.feeds[log])

    def _fail_over(self) -> None:
        """Fail over to another cluster without the records."""
        if self.random.random() < 0.2:
            for worker in self.workers:
                self._kill(worker)
            for log in list(self.world.logs):
                self.world.recreate(log)
            for topic in self.world.topics.values():
                topic.grown = 0
            self.world.tag = self.random.randbytes(4)
            self.workers = [Worker(self.world) for _ in self.workers]
            self.every_worker += self.workers

    def _grow(self) -> None:
        self._grow_topic(USER_TOPIC)

    def _grow_topic(self, name: str) -> None:
        topic = self.world.topics[name]
        # A worker that learns of a topic after its growth does not know its former partitions.
        if len(topic.counts) == 1 and topic.exists and topic.visible and self._is_known(name):
            for client in self.clients:
                client.before_growth()
            self.world.grow(topic.counts[0] + self.random.randint(1, 3), name)
            for client in self.clients:
                client.after_growth()

    def _is_known(self, name: str) -> bool:
        """Return whether every worker that is configured for the topic knows its incarnation."""
        return all(
            topic.partitions and topic.tag == self.world.topics[name].tag
            for worker in self.workers
            for topic in worker.routes.topics
            if topic.name == name
        )

    def _grow_one(self) -> None:
        self._grow_topic(self.random.choice([USER_TOPIC, *self._extra_names()]))

    def _extra_names(self) -> list[str]:
        return [extra.name for extra in self.world.setup.extras]

    def _reconfigure(self) -> None:
        """Add or remove a topic: every worker is replaced by one with the new configuration."""
        if self.random.random() < 0.4:
            topic = self.world.topics[self.random.choice(self._extra_names())]
            topic.configured = not topic.configured
            for worker in self.workers:
                self._kill(worker)
            self.workers = [Worker(self.world) for _ in self.workers]
            self.every_worker += self.workers

    def _regroup(self) -> None:
        """Let a client's next token name other groups."""
        client = self.random.choice(self.clients)
        groups = [t.name for t in self.world.topics.values() if t.kind is LogKind.GROUP]
        if client.connection is None and groups:
            client.regroup(self.random.choice(groups), self._groups())

    def _vanish(self) -> None:
        """Hide a topic from workers that look for it, and replace one of them."""
        topic = self.world.topics[self.random.choice(self._extra_names())]
        if topic.exists and topic.configured:
            topic.visible = False
            self._replace_worker()

    def _appear(self) -> None:
        """Create a missing topic, or show a hidden one, which may have been recreated."""
        topic = self.world.topics[self.random.choice(self._extra_names())]
        if topic.exists and not topic.visible:
            if (
                not any(
                    known.name == topic.name and known.partitions
                    for worker in self.workers
                    for known in worker.routes.topics
                )
                and self.random.random() < 0.4
            ):
                self._recreate_topic(topic.name)
                for client in self.clients:
                    client.after_unseen_recreation(topic)
            topic.visible = True
        if not topic.exists:
            for client in self.clients:
                client.before_growth()
            self.world.appear(topic.name)
            if topic.configured:
                for client in self.clients:
                    client.after_growth(appeared=True)

    def _recreate_one(self) -> None:
        """Recreate one of the topics with another tag."""
        name = self.random.choice([*self._extra_names(), USER_TOPIC])
        topic = self.world.topics[name]
        if topic.exists and topic.visible and self._is_known(name):
            self._recreate_topic(name)

    def _recreate_topic(self, name: str) -> None:
        self._before_recreation([log for log in self.world.logs if log.topic == name])
        self.world.recreate_topic(name, self.random.randbytes(4))

    def _before_recreation(self, logs: Sequence[TopicPartition]) -> None:
        for number, log in enumerate(logs, 1):
            for client in self.clients:
                for worker in self.workers:
                    client.before_recreation(log, worker, self.world.epoch + number)

    def _refresh_topics(self) -> None:
        self.random.choice(self.workers).refresh_topics()

    def _recreate_topics(self) -> None:
        if self.random.random() < 0.5:
            self._before_recreation(list(self.world.logs))
            self.world.recreate_topics(self.random.randbytes(4))

    def _garbage(self) -> None:
        client = self.random.choice(self.clients)
        if client.connection is None and client.since is None:
            client.last_id = self.random.choice(["x", "1u", "2" + "A" * 29, "1" + "é" * 29])

    def _forge(self) -> None:
        client = self.random.choice(self.clients)
        if client.connection is None and self.random.random() < 0.3:
            client.rogue = True
            position = OffsetPosition(
                self.random.choice([0, 5, 20, (1 << 63) - 1]),
                self.random.choice([0, self.world.now, (1 << 47) - 1]),
                self.random.random() < 0.5,
            )
            tag = self.random.choice([self.world.tag, b"evil"])
            partition = self.random.randint(0, 2)
            entries = [CursorEntry(LogKind.USER, tag, partition, position)]
            if self.profile.sources and position.offset < 1 << 47:
                topics = [topic.topic() for topic in self.world.topics.values()]
                entries = [
                    CursorEntry(None, short_tag(topic.mark, topic.tag), partition, position)
                    for topic in topics
                ]
            client.last_id = encode(entries).decode()

    def _steal(self) -> None:
        client, other = self.random.choice(self.clients), self.random.choice(self.clients)
        if client.connection is None and other is not client and other.last_id:
            client.rogue = True
            client.last_id = other.last_id
