"""Comparison of the topics' retention with the replay time that clients are promised.

A topic with a shorter retention loses events that clients may resume from. It may be changed at any
time: it is requested once a minute, for all topics at once, and more often while it is too short.
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
"""The same while a retention is too short: somebody may be about to change it."""


class RetentionWatch:
    """Keeps the event topics whose retention is too short in `short`."""

    def __init__(self, settings: Settings, client: ClusterClient) -> None:
        self._client = client
        self._names = [name for name in (settings.topic, settings.broadcast_topic) if name]
        self._promised = settings.replay_max_age_seconds
        self.short: tuple[ShortRetention, ...] = ()

    async def run(self) -> None:
        """Look for as long as the task lives; without an answer the last result stays."""
        while True:
            with suppress(KafkaError):
                kept = await retentions(self._client, self._names)
                self.short = tuple(
                    ShortRetention(topic, kept[topic] / 1000, self._promised)
                    for topic in self._names
                    if topic in kept and 0 <= kept[topic] < self._promised * 1000
                )
            await asyncio.sleep(SHORT_LOOK_SECONDS if self.short else LOOK_SECONDS)
