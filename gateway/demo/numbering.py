"""Sequence numbers in events, by which a reader detects lost and repeated events.

Event ids are opaque, so a page cannot detect a missing event from ids alone. The demo therefore
numbers published events: `data` contains a `lane` and the sequence number `seq` within the lane. A
lane is one category of one user or of the broadcasts. A filter passes a lane completely or excludes
it completely, so the numbers of every followed lane are contiguous.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from gateway.errors import PublishError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.registry import Registry

BROADCASTS = "broadcasts"


class Publisher(Protocol):
    """The part of the publisher library that the demo uses."""

    async def publish(self, user_id: str, event_type: str, data: object) -> object:
        """Publish an event for one user; return when Kafka acknowledged it."""

    async def broadcast(self, event_type: str, data: object) -> object:
        """Publish a broadcast; return when Kafka acknowledged it."""


class NumberedPublisher:
    """Publishes events sequentially and adds lane, number and time to their data."""

    refused: int
    """Number of events that Kafka did not accept."""

    def __init__(
        self,
        publisher: Publisher,
        registry: Registry,
        teams: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`teams` has the team of each user, for events of teams."""
        self._publisher = publisher
        self._registry = registry
        self._teams = teams
        self._counts: defaultdict[str | None, defaultdict[str, int]] = defaultdict(
            lambda: defaultdict(int)
        )
        self._lock = asyncio.Lock()
        self.refused = 0

    async def publish(self, user: str | None, event_type: str, data: Mapping[str, object]) -> None:
        """Publish for a user, or a broadcast for None; return when Kafka acknowledged it.

        The lock is held until then: numbers follow the order of the log, and a number is used only
        if its event exists. Raises `PublishError` if Kafka does not accept the event.
        """
        category = self._registry.category_of(event_type) or event_type
        shared = BROADCASTS if user is None else user if user in self._teams.values() else ""
        lane = f"{shared}:{category}" if shared else category
        async with self._lock:
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
        """Return the number of events in each lane of an unfiltered stream of `user`."""
        team = self._teams.get(user)
        of_team = {} if team is None else self._counts[team]
        return {**self._counts[None], **of_team, **self._counts[user]}

    @property
    def total(self) -> int:
        """Number of published events."""
        return sum(sum(lanes.values()) for lanes in self._counts.values())
