"""One stream of a scan, and the search that it shares with streams of the same events."""

from __future__ import annotations

from bisect import bisect_left
from operator import attrgetter
from typing import TYPE_CHECKING

from gateway.core.catch_up_state import Found, Part

if TYPE_CHECKING:
    from gateway.core.catch_up_state import CatchUpState
    from gateway.core.filter import EventFilter
    from gateway.core.records import Event, Record
    from gateway.core.stream import Stream

NEVER = 1 << 63
"""Above every offset."""

_offset = attrgetter("offset")


class Search:
    """The search that several streams share: events of the same keys that match one filter.

    Thousands of streams that missed the same broadcasts share one list of events. The list keeps at
    least the newest `most` events that count against the limits, the maximum for any stream.
    """

    __slots__ = ("_filter", "found", "most", "seekers", "trimmed", "until")

    def __init__(self, event_filter: EventFilter | None, until: int) -> None:
        self._filter = event_filter
        self.found = Found()
        self.most = 0
        self.until = until
        """Events from this offset on count for none of its streams, and are all kept."""
        self.seekers = 0
        """Streams that take part."""
        self.trimmed = -1
        """The offset of the last event that was found and dropped: newer ones are enough."""

    def add(self, record: Record, event: Event) -> None:
        """Add the next event of the keys if the filter matches."""
        if self._filter is not None and not self._filter.accepts(event):
            return
        records = self.found.records
        records.append(record)
        if len(records) > 2 * self.most + 1 and record.offset < self.until:
            # A new list: backlogs may refer to parts of the old one.
            self.trimmed = records[-self.most - 1].offset
            self.found = Found(records[len(records) - self.most :])


class Seeker:
    """One stream in a scan; it shares the events found by its `search`."""

    __slots__ = (
        "collected",
        "from_",
        "least",
        "limit",
        "offset",
        "room",
        "search",
        "state",
        "stream",
        "until",
        "untimed",
    )

    def __init__(self, stream: Stream, state: CatchUpState) -> None:
        self.stream = stream
        self.state = state
        self.offset = 0
        """The stream's offset: records from here on were not sent."""
        self.from_ = 0
        """Events before this offset exceed the limits, except events without a timestamp."""
        self.least = 0
        """Events without a timestamp before this offset exceed the limits."""
        self.untimed = False
        """Whether the stream's position is after a record without a timestamp."""
        self.limit: int | None = None
        """The first offset of a gap `limit` to be sent; None: no gap."""
        self.until = 0
        """Events from this offset on were written after the opening and do not count."""
        self.room = 0
        """Events that the limits allow before `until`, in addition to those in the tail."""
        self.collected = 0
        """Events before this offset were handed over."""
        self.search: Search | None = None

    def is_ready(self, position: int, end: int) -> bool:
        """Return whether events were found that no limit can still exclude.

        The scan is at `position` and ends at `end`; it cannot find more events than there are
        offsets in between.
        """
        assert self.search is not None
        records = self.search.found.records
        begin = bisect_left(records, max(self.from_, self.collected), key=_offset)
        counted = bisect_left(records, self.until, lo=begin, key=_offset) - begin
        to_come = max(0, min(end, self.until) - position)
        return begin < len(records) and counted + to_come <= self.room

    def collect(self, position: int) -> tuple[Part | None, int | None]:
        """Return the events found since the last call and the offset of the first one.

        Covers offsets before `position`. Returns (None, None) without an event. Sets `limit` if
        the limits exclude events.
        """
        assert self.search is not None
        found, trimmed = self.search.found, self.search.trimmed
        records, end = found.records, len(found.records)
        first = bisect_left(records, self.collected, key=_offset)
        begin = bisect_left(records, self.from_, lo=first, key=_offset)
        # The age of these events is unknown: no event after them is older than the limit.
        while (
            begin > first
            and records[begin - 1].timestamp < 0
            and records[begin - 1].offset >= self.least
        ):
            begin -= 1
        begin = max(begin, bisect_left(records, self.until, key=_offset) - self.room)
        if self.limit is None and (begin > first or trimmed >= self.collected):
            self.limit = self.offset
        if begin > first:
            self.from_ = max(self.from_, records[begin - 1].offset + 1)
        elif trimmed >= self.collected:
            self.from_ = max(self.from_, trimmed + 1)
        self.collected = position
        if begin == end:
            return None, None
        return Part(found, begin, end), records[begin].offset
