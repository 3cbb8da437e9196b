"""How long the brokers keep the records of the topics, held against what clients are promised.

A topic whose retention is shorter loses what clients come back for. It can be changed at any time,
so it is asked for every few seconds: 3 ms of CPU for each topic.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gateway.core.status import ShortRetention
from gateway.errors import BrokerError
from gateway.kafka.offsets import EMBEDDED_CLUSTER
from gateway.kafka.topics import retention_ms

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.kafka.metadata import Cluster

LOOK_SECONDS = 10.0


class RetentionWatch:
    """Knows the topics of events that keep too little; `short` is what was found last."""

    def __init__(self, settings: Settings, options: dict[str, Any]) -> None:
        self._options = options
        self._names = [name for name in (settings.topic, settings.broadcast_topic) if name]
        self._promised = settings.replay_max_age_seconds
        self.short: tuple[ShortRetention, ...] = ()

    async def run(self, cluster: Cluster) -> None:
        """Look for as long as the task lives; while no broker answers, what was found stays."""
        if cluster.cluster_id == EMBEDDED_CLUSTER:
            return  # it closes the connection at the question
        while True:
            with suppress(BrokerError):
                kept = [(name, await retention_ms(self._options, name)) for name in self._names]
                self.short = tuple(
                    ShortRetention(topic, ms / 1000, self._promised)
                    for topic, ms in kept
                    if ms is not None and 0 <= ms < self._promised * 1000
                )
            await asyncio.sleep(LOOK_SECONDS)
