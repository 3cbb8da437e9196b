"""The state of each partition and broker of a `FetchReader`, which changes it."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from gateway import clock
from gateway.kafka.fetch.protocol import NONE, FetchPosition

if TYPE_CHECKING:
    from gateway.core.records import TopicPartition
    from gateway.kafka.client.connection import Connection
    from gateway.kafka.client.requests import Leader
    from gateway.kafka.fetch.batches import Unreadable
    from gateway.kafka.fetch.session import FetchSession


class Partition:
    """A partition being read. A new `position` object invalidates fetches in flight."""

    def __init__(self, log: TopicPartition, position: FetchPosition, skipped: Unreadable) -> None:
        self.log = log
        self.position = position
        self.skipped = partial(skipped, log)
        self.leader: Leader | None = None
        self.follower = NONE
        self.follower_until = 0.0
        self.broker: Broker | None = None
        self.since = clock.now().monotonic
        """When the partition was assigned to its broker."""
        self.retry: asyncio.TimerHandle | None = None
        self.failures = 0
        self.fault = "not read yet"
        self.lost = False
        self.stalled = False
        self.end = NONE
        """Last stable offset: the current end of the readable log."""


class Broker:
    """A broker and the partitions that are fetched from it."""

    def __init__(self, node_id: int) -> None:
        self.node_id = node_id
        self.wanted: dict[TopicPartition, FetchPosition] = {}
        self.touched: dict[TopicPartition, None] = {}
        """Partitions whose entry in `wanted` has changed since the last request, in order."""
        self.unproven: set[TopicPartition] = set()
        self.connection: Connection | None = None
        self.session: FetchSession | None = None
        self.news = asyncio.Event()
        self.answered = clock.now().monotonic
        """When the last response arrived."""
        self.failures = 0
        self.fault = ""
        self.throttle_logged = float("-inf")
        """When a throttled response was last logged."""

    def disconnect(self) -> None:
        """Close the connection, if any, and forget its session."""
        if self.connection is not None:
            self.connection.close()
        self.connection = self.session = None

    def covers(self, log: TopicPartition) -> bool:
        """Whether the last fetch included a partition; a response omits unchanged ones."""
        return self.session is not None and self.session.asked(log) is not None
