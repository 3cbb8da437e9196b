"""The latest events of a worker for dashboards: type, position, size and delay of a few of them.

No payload; users are shown by their keyed hash. Costs one check of a flag for each batch while no
dashboard is open, else a pass over the newest records of each batch. It reads a batch after its
delivery and uses only records that were decoded for streams: nothing is decoded for dashboards.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from gateway.core.records import Event, Moment, Record, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


NEWEST = 32
"""Records of each partition and batch that are read."""

EACH_CATEGORY = 4
"""Events of each category in a sample: a rare category is not lost among frequent ones."""

MAX_CATEGORIES = 64
"""Limit: a producer can name any category in a header."""


class LatestEvent(msgspec.Struct, frozen=True):
    """One delivered event; `at` is when, Unix ms."""

    at: int
    type: str
    category: str | None
    topic: str
    partition: int
    offset: int
    user: str
    """As in the log; empty for a broadcast."""
    bytes: int
    """Of its frame, without the id."""
    latency_ms: int
    """From the record's timestamp to the write; at least 0, since clocks differ."""


class Latest:
    """Samples a few of the delivered events while it is `watched`."""

    def __init__(self, name: Callable[[bytes], str]) -> None:
        self._name = name
        self._found: dict[str | None, deque[LatestEvent]] = {}
        self.watched = False

    def dispatched(
        self, batches: Mapping[TopicPartition, Sequence[Record]], moment: Moment
    ) -> None:
        """Sample a delivered batch; called by the hub."""
        if not self.watched:
            return
        for log, records in batches.items():
            room = dict.fromkeys(self._found, EACH_CATEGORY)
            for record in islice(reversed(records), NEWEST):
                event = record.event
                if isinstance(event, Event) and room.setdefault(event.category, EACH_CATEGORY):
                    room[event.category] -= 1
                    self._add(log, record, event, moment)

    def drain(self) -> list[LatestEvent]:
        """Return the events since the last call, oldest first."""
        events = sorted((e for found in self._found.values() for e in found), key=lambda e: e.at)
        self._found = {}
        return events

    def _add(self, log: TopicPartition, record: Record, event: Event, moment: Moment) -> None:
        found = self._found.get(event.category)
        if found is None:
            if len(self._found) >= MAX_CATEGORIES:
                return
            found = self._found[event.category] = deque(maxlen=EACH_CATEGORY)
        found.append(
            LatestEvent(
                moment.wall,
                event.event_type,
                event.category,
                log.topic,
                log.partition,
                record.offset,
                self._name(record.key) if record.key else "",
                len(event.body),
                max(0, moment.wall - record.timestamp),
            )
        )
