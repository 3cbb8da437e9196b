"""A random history of a fleet, determined by a seed."""

from __future__ import annotations

from collections.abc import Callable

from gateway.core.records import LogKind, OffsetPosition, TopicPartition
from gateway.core.registry import Registry
from gateway.core.stream import State
from tests.core.client_steps import ClientSteps
from tests.core.consistency import assert_consistent
from tests.core.judge import judge
from tests.core.simulated_fleet import GROUPS, USERS, Profile
from tests.core.topic_steps import TopicSteps
from tests.core.world import BROADCAST_TOPIC, DATA, OTHER, USER_TOPIC

STEPS = 45


class History(ClientSteps, TopicSteps):
    """One random history; `run` executes and judges it."""

    def __init__(self, seed: int, profile: Profile, registry: Registry) -> None:
        super().__init__(seed, profile, registry)
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
