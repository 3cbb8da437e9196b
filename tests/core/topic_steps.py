"""Steps of a random history that change topics and the configuration."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.core.records import TopicPartition
from tests.core.simulated_fleet import SimulatedFleet
from tests.core.workers import Worker
from tests.core.world import BROADCAST_TOPIC, USER_TOPIC


class TopicSteps(SimulatedFleet):
    """Topics are trimmed, grow, appear, vanish and are recreated."""

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

    def _reconfigure(self) -> None:
        """Add or remove a topic: every worker is replaced by one with the new configuration."""
        if self.random.random() < 0.4:
            topic = self.world.topics[self.random.choice(self._extra_names())]
            topic.configured = not topic.configured
            for worker in self.workers:
                self._kill(worker)
            self.workers = [Worker(self.world) for _ in self.workers]
            self.every_worker += self.workers

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
