"""What producers write: records in each of the three shapes, and records in none.

Values are put together as bytes, because the tests ask for payloads to arrive byte for byte.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

OCCURRED_AT = "2026-01-02T03:04:05Z"
TYPE = "portfolio.balance.updated"
"""An event type of the built-in registry, where a test does not care which."""

Headers = list[tuple[str, bytes]]


class WithSettings(Protocol):
    """Topics with the environment of a worker that serves them."""

    @property
    def settings(self) -> Mapping[str, str]: ...


class Topics(NamedTuple):
    """The topics that a worker serves."""

    user: str
    broadcast: str
    revocations: str = ""
    workers: str = ""

    @property
    def settings(self) -> dict[str, str]:
        """The environment of a worker that serves them, and needs no other."""
        return {
            "GATEWAY_TOPIC": self.user,
            "GATEWAY_BROADCAST_TOPIC": self.broadcast,
            "GATEWAY_REVOCATIONS_TOPIC": self.revocations,
            "GATEWAY_WORKERS_TOPIC": self.workers,
        }


def numbered(number: int) -> bytes:
    """Return the payload that says which event of a row this is."""
    return b'{"n":%d}' % number


def number_of(value: bytes) -> int:
    """Return which event of a row a value in the default shape is."""
    return int(json.loads(value)["data"]["n"])


def envelope(user: str, event_type: str = TYPE, data: bytes = b"{}") -> bytes:
    """Return a value in the default shape, with `data` as it is."""
    return b'{"event_id":"%s","event_type":%s,"user_id":%s,"data":%s,"occurred_at":"%s"}' % (
        str(uuid.uuid4()).encode(),
        json.dumps(event_type).encode(),
        json.dumps(user).encode(),
        data,
        OCCURRED_AT.encode(),
    )


class RecordWriter:
    """Writes records for a worker's topics; each call returns when the broker has the records."""

    def __init__(self, producer: AIOKafkaProducer, topics: Topics) -> None:
        self._producer = producer
        self._topics = topics

    async def event(
        self, user: str, event_type: str = TYPE, data: bytes = b"{}", **options: Any
    ) -> RecordMetadata:
        """Write one event of the user as an envelope."""
        return await self.record(user.encode(), envelope(user, event_type, data), **options)

    async def numbered(self, user: str, numbers: Iterable[int], **options: Any) -> RecordMetadata:
        """Write events with those numbers, in order; returns where the last one is."""
        return (await self._send_all([(user, number) for number in numbers], options))[-1]

    async def broadcast(self, event_type: str = TYPE, data: bytes = b"{}") -> RecordMetadata:
        """Write one broadcast event."""
        return await self.record(
            None, envelope("", event_type, data), topic=self._topics.broadcast, partition=0
        )

    async def record(
        self, key: bytes | None, value: bytes | None, *, topic: str | None = None, **options: Any
    ) -> RecordMetadata:
        """Write one record as it is; options are those of aiokafka's `send`."""
        return await self._producer.send_and_wait(
            topic or self._topics.user, value, key=key, **options
        )

    async def noise(self, count: int, partition: int, size: int = 10) -> RecordMetadata:
        """Write events of users without streams into one partition."""
        rows = [(f"noise-{number}", number) for number in range(count)]
        options = {"partition": partition}
        return (await self._send_all(rows, options, b'"' + b"x" * size + b'"'))[-1]

    async def _send_all(
        self, rows: list[tuple[str, int]], options: dict[str, Any], data: bytes | None = None
    ) -> list[RecordMetadata]:
        sent = [
            await self._producer.send(
                self._topics.user,
                envelope(user, TYPE, data or numbered(number)),
                key=user.encode(),
                **options,
            )
            for user, number in rows
        ]
        return list(await asyncio.gather(*sent))
