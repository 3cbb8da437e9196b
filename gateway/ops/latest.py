"""The latest events of a worker, for a screen on a wall: what, where, how large, how late.

No payload, and no user but by a name that says nothing. While nobody watches it costs one look at a
flag for each batch; while somebody does, a look at the newest records of each batch. A batch is
looked at after it was delivered, and only what was decoded for its streams is taken: nothing is
decoded for this.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from gateway.core.event import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.core.log import Log, Moment, Record

NEWEST = 32
"""Records of each log and batch that are looked at."""

EACH_CATEGORY = 4
"""Events of each category between two looks: a rare one is not lost among thousands of others."""

MAX_CATEGORIES = 64
"""A producer can name any in a header."""


class LatestEvent(msgspec.Struct, frozen=True):
    """One delivered event; `at` is when, Unix ms."""

    at: int
    type: str
    category: str | None
    topic: str
    partition: int
    offset: int
    user: str
    """Its name in the log; empty for a broadcast."""
    bytes: int
    """Of its frame, without the id."""
    latency_ms: int
    """From the record's timestamp to the write; at least 0, since clocks differ."""


class Latest:
    """Takes a few of the events that are delivered while it is `watched`."""

    def __init__(self, name: Callable[[bytes], str]) -> None:
        self._name = name
        self._found: dict[str | None, deque[LatestEvent]] = {}
        self.watched = False

    def dispatched(self, batches: Mapping[Log, Sequence[Record]], moment: Moment) -> None:
        """Look at what was delivered; what the hub calls."""
        if not self.watched:
            return
        for log, records in batches.items():
            room = dict.fromkeys(self._found, EACH_CATEGORY)
            for record in islice(reversed(records), NEWEST):
                event = record.event
                if isinstance(event, Event) and room.setdefault(event.category, EACH_CATEGORY):
                    room[event.category] -= 1
                    self._add(log, record, event, moment)

    def take(self) -> list[LatestEvent]:
        """Return what was found since the last call, oldest first."""
        events = sorted((e for found in self._found.values() for e in found), key=lambda e: e.at)
        self._found = {}
        return events

    def _add(self, log: Log, record: Record, event: Event, moment: Moment) -> None:
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
