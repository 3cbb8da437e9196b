from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.core.registry import Registry
from gateway.demo.numbering import NumberedPublisher
from gateway.errors import PublishError


class Kafka:
    """Accepts events after a yield, so that calls overlap; rejects them while `unavailable`."""

    def __init__(self) -> None:
        self.log: list[tuple[str | None, str, Any]] = []
        self.unavailable = False

    async def publish(self, user_id: str, event_type: str, data: object) -> None:
        await self._append(user_id, event_type, data)

    async def broadcast(self, event_type: str, data: object) -> None:
        await self._append(None, event_type, data)

    async def _append(self, user: str | None, event_type: str, data: object) -> None:
        await asyncio.sleep(0)
        if self.unavailable:
            raise PublishError("Kafka is unavailable")
        self.log.append((user, event_type, data))

    @property
    def numbers(self) -> list[tuple[str | None, str, int]]:
        return [(user, data["lane"], data["seq"]) for user, _, data in self.log]


@pytest.fixture
def kafka() -> Kafka:
    return Kafka()


@pytest.fixture
def publisher(kafka: Kafka) -> NumberedPublisher:
    return NumberedPublisher(kafka, Registry.built_in())


async def test_each_category_of_each_user_is_numbered_separately(
    kafka: Kafka, publisher: NumberedPublisher
) -> None:
    await publisher.publish("alice", "import.started", {"rows": 3})
    await publisher.publish("alice", "import.completed", {})
    await publisher.publish("alice", "ai.response.chunk", {})
    await publisher.publish("bob", "import.started", {})
    await publisher.publish(None, "provider.disconnected", {})
    await publisher.publish(None, "announcement", {})
    assert kafka.numbers == [
        ("alice", "import", 1),
        ("alice", "import", 2),
        ("alice", "ai", 1),
        ("bob", "import", 1),
        (None, "broadcasts:provider", 1),
        (None, "broadcasts:announcement", 1),
    ]
    assert kafka.log[0][2]["rows"] == 3
    assert publisher.counts("alice") == {
        "import": 2,
        "ai": 1,
        "broadcasts:provider": 1,
        "broadcasts:announcement": 1,
    }
    assert publisher.total == 6


async def test_concurrent_events_are_numbered_in_log_order(
    kafka: Kafka, publisher: NumberedPublisher
) -> None:
    await asyncio.gather(*[publisher.publish("alice", "import.progress", {}) for _ in range(20)])
    assert kafka.numbers == [("alice", "import", number) for number in range(1, 21)]


async def test_an_event_that_kafka_does_not_append_uses_up_no_number(
    kafka: Kafka, publisher: NumberedPublisher
) -> None:
    kafka.unavailable = True
    with pytest.raises(PublishError):
        await publisher.publish("alice", "import.started", {})
    assert (publisher.counts("alice").get("import", 0), publisher.refused) == (0, 1)
    kafka.unavailable = False
    await publisher.publish("alice", "import.started", {})
    assert kafka.numbers == [("alice", "import", 1)]
