from __future__ import annotations

import time

from gateway.core.event_id import CursorEntry, encode
from gateway.core.records import LogKind, OffsetPosition, TimePosition
from gateway.kafka.topics import describe
from gateway.publisher import EventPublisher
from tests.child import free_port
from tests.commands.command import gateway, settings_of
from tests.conftest import Broker, MakeTopics

NOW_MS = time.time_ns() // 1_000_000


def event_id(
    user: OffsetPosition, tag: bytes = b"\0\0\0\0", broadcast_tag: bytes = b"\0\0\0\0"
) -> str:
    broadcast = CursorEntry(LogKind.BROADCAST, broadcast_tag, 0, TimePosition(NOW_MS))
    return encode([CursorEntry(LogKind.USER, tag, 0, user), broadcast]).decode()


async def test_an_id_is_read_without_kafka() -> None:
    finished = await gateway("id", event_id(OffsetPosition(42, NOW_MS, True)), "--no-kafka")
    assert finished.code == 0
    assert finished.err == ""
    heading, user, broadcast = finished.out.splitlines()
    assert heading.split() == ["log", "partition", "next", "offset", "time", "of", "topic", "tag"]
    assert user.split()[:3] == ["user", "0", "42"]
    assert "the previous record, which identifies the topic" in user
    assert broadcast.split()[:4] == ["broadcast", "0", "by", "time"]


async def test_a_broker_that_is_away_is_said_in_a_line() -> None:
    address = f"127.0.0.1:{free_port()}"
    finished = await gateway("id", event_id(OffsetPosition(42, 0, False)), "--bootstrap", address)
    assert finished.code == 0
    assert finished.err == (
        f"cannot predict a resume: no Kafka broker answers at {address};"
        " start it, or set GATEWAY_KAFKA_BOOTSTRAP\n"
    )
    assert "user" in finished.out


async def test_id_of_another_cluster_is_distinguished(broker: Broker, topics: MakeTopics) -> None:
    made = await topics(1)
    settings = settings_of(broker, made)
    async with EventPublisher(broker.bootstrap, topic=made.user) as publisher:
        for _ in range(5):  # one by one: of a batch, the embedded broker counts the first only
            await publisher.publish("alice", "import.started", {})
    names = [made.user, made.broadcast]
    cluster = await describe({"bootstrap_servers": [broker.bootstrap]}, names)
    tags = [cluster.tag(name) for name in names]

    for position, verdict in [
        (OffsetPosition(2, 0, False), "replay of at most 3 records"),
        (OffsetPosition(2, 1, True), "gap reset, then replay of at most 5 records"),
        (OffsetPosition(5, NOW_MS, False), "nothing to replay: up to date"),
        (OffsetPosition(6, 0, False), "gap reset, then replay of at most 5 records"),
    ]:
        finished = await gateway("id", event_id(position, *tags), settings=settings)
        assert finished.code == 0, finished.err
        _, user, broadcast = finished.out.splitlines()
        assert user.rstrip().endswith(verdict)
        assert broadcast.rstrip().endswith("nothing to replay: up to date")

    foreign = await gateway("id", event_id(OffsetPosition(2, 0, False)), settings=settings)
    assert foreign.out.count("made for another cluster or topic") == 2
