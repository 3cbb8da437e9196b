"""The state of a partition of a `FetchReader`; the reader and its brokers change it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gateway import clock
from gateway.kafka.fetch.protocol import NONE

if TYPE_CHECKING:
    import asyncio

    from gateway.core.records import TopicPartition
    from gateway.kafka.client.requests import Leader
    from gateway.kafka.fetch.batches import Unreadable
    from gateway.kafka.fetch.broker import BrokerReader
    from gateway.kafka.fetch.protocol import FetchPosition


class Partition:
    """A partition being read. A new `position` object invalidates fetches in flight."""

    def __init__(self, log: TopicPartition, position: FetchPosition, skipped: Unreadable) -> None:
        self.log = log
        self.position = position
        self.skipped = partial(skipped, log)
        self.leader: Leader | None = None
        self.follower = NONE
        self.follower_until = 0.0
        self.broker: BrokerReader | None = None
        self.since = clock.now().monotonic
        """When the partition was assigned to its broker."""
        self.retry: asyncio.TimerHandle | None = None
        self.failures = 0
        self.fault = "not read yet"
        self.lost = False
        self.stalled = False
        self.end = NONE
        """Last stable offset: the current end of the readable log."""

    def is_at(self, position: FetchPosition, broker: BrokerReader) -> bool:
        """Return whether it is still read from this position object and broker."""
        return self.position is position and self.broker is broker
