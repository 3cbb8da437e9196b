"""Numbers on events, by which a reader proves that none was lost and none came twice.

An event id is opaque, so a page cannot tell from ids alone whether something between two of them
is missing. The demo therefore counts what it publishes: `data` carries a `lane` and the event's
number `seq` in it. A lane is what a filter lets through whole or not at all, a category of one user
or of the broadcasts: whatever a stream is filtered by, the numbers of the lanes it follows have no
holes.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Protocol

from gateway.errors import PublishError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.registry import Registry

EVERYBODY = "everybody"


class Publisher(Protocol):
    """What is needed of the publisher library."""

    async def publish(self, user_id: str, event_type: str, data: object) -> object:
        """Write an event for one user, and return when Kafka has it."""

    async def broadcast(self, event_type: str, data: object) -> object:
        """Write an event for everybody, and return when Kafka has it."""


class NumberedPublisher:
    """Publishes events one after the other, each with its lane, number and time in its data."""

    refused: int
    """How many events Kafka did not take."""

    def __init__(self, publisher: Publisher, registry: Registry) -> None:
        self._publisher = publisher
        self._registry = registry
        self._counts: defaultdict[str | None, defaultdict[str, int]] = defaultdict(
            lambda: defaultdict(int)
        )
        self._turn = asyncio.Lock()
        self.refused = 0

    async def publish(self, user: str | None, event_type: str, data: Mapping[str, object]) -> None:
        """Publish for a user, or for everybody without one; return when Kafka has the event.

        The turn is held until then, so that numbers are in the order of the log, and that a number
        is only counted when its event exists. Raises `PublishError` where Kafka does not take it.
        """
        category = self._registry.category_of(event_type) or event_type
        lane = category if user is not None else f"{EVERYBODY}:{category}"
        async with self._turn:
            number = self._counts[user][lane] + 1
            numbered = {**data, "lane": lane, "seq": number, "at": round(time.time() * 1000)}
            try:
                if user is None:
                    await self._publisher.broadcast(event_type, numbered)
                else:
                    await self._publisher.publish(user, event_type, numbered)
            except PublishError:
                self.refused += 1
                raise
            self._counts[user][lane] = number

    def counts(self, user: str) -> dict[str, int]:
        """Return how many events each lane has that an unfiltered stream of `user` follows."""
        return {**self._counts[None], **self._counts[user]}

    @property
    def total(self) -> int:
        """How many events were published."""
        return sum(sum(lanes.values()) for lanes in self._counts.values())
