"""Steps of a random history that clients and their networks take."""

from __future__ import annotations

from gateway.core.event_id import CursorEntry, encode, short_tag
from gateway.core.gap import CloseReason
from gateway.core.records import LogKind, OffsetPosition
from tests.core.simulated_fleet import SimulatedFleet


class ClientSteps(SimulatedFleet):
    """Clients connect, stall, disconnect, and send ids that are not theirs."""

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

    def _stall(self) -> None:
        connection = self.random.choice(self.clients).connection
        if connection is not None:
            connection.stall(self.random.randint(0, 500))

    def _drain(self) -> None:
        connection = self.random.choice(self.clients).connection
        if connection is not None:
            connection.drain()

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

    def _regroup(self) -> None:
        """Let a client's next token name other groups."""
        client = self.random.choice(self.clients)
        groups = [t.name for t in self.world.topics.values() if t.kind is LogKind.GROUP]
        if client.connection is None and groups:
            client.regroup(self.random.choice(groups), self._groups())
