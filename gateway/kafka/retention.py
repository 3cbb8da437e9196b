"""Compares the retention of topics with the promised replay time.

A topic with a shorter retention deletes events that clients may resume from. An operator may change
a retention at any time: one request a minute covers all topics, more often while one is too short.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError

from gateway.fleet.status import ShortRetention
from gateway.kafka.topics import retentions

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.kafka.client.cluster import ClusterClient

LOOK_SECONDS = 60.0
"""Interval of the requests."""

SHORT_LOOK_SECONDS = 10.0
"""The same while a retention is too short: an operator may be changing it."""


class RetentionWatch:
    """Lists in `short` the event topics whose retention is too short."""

    def __init__(self, settings: Settings, client: ClusterClient) -> None:
        self._client = client
        self._names = [source.topic for source in settings.event_sources]
        self._promised = settings.replay_max_age_seconds
        self.short: tuple[ShortRetention, ...] = ()

    async def run(self) -> None:
        """Check for as long as the task lives; without an answer keep the last result."""
        while True:
            with suppress(KafkaError):
                kept = await retentions(self._client, self._names)
                self.short = tuple(
                    ShortRetention(topic, kept[topic] / 1000, self._promised)
                    for topic in self._names
                    if topic in kept and 0 <= kept[topic] < self._promised * 1000
                )
            await asyncio.sleep(SHORT_LOOK_SECONDS if self.short else LOOK_SECONDS)
