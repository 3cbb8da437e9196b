"""Interpreter: decodes each record at most once and reports unreadable ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core import frame
from gateway.core.gap import GapReason
from gateway.core.records import Event, Unreadable, UnreadableReason
from gateway.core.values import read_value

if TYPE_CHECKING:
    from gateway.core.containment import Contain
    from gateway.core.event import Decoder
    from gateway.core.feed import PartitionFeed
    from gateway.core.observer import Observer
    from gateway.core.records import Record
    from gateway.core.values import Skipped, Values


class Interpreter:
    """A decoder that stores the event in its record, so that all streams share it."""

    def __init__(
        self,
        decoder: Decoder,
        observer: Observer,
        contain: Contain,
        values: Values | None = None,
        skipped: Skipped | None = None,
    ) -> None:
        self._decoder = decoder
        self._observer = observer
        self._contain = contain
        self._values = values
        """Reads values that a schema describes; None: values are read as they are."""
        self._skipped = skipped
        """Takes records that are skipped; None: they are only reported."""
        self._contained = contain()
        """Entered for each decoded record; replaced only after a failure."""

    def decode(self, feed: PartitionFeed, record: Record) -> Event | None:
        """Return the record's event, decoded once; None if the record is unreadable."""
        event = record.event
        if event.__class__ is Event:  # most records are already decoded
            return event
        if event is None:
            event = self._decode(feed, record)
            if event.__class__ is not Event or event.category is None:
                event = self._report(feed, record, event)
            record.event = event
            record.value = None
            record.headers = ()
        return event if isinstance(event, Event) else None

    def _report(
        self, feed: PartitionFeed, record: Record, event: Event | Unreadable
    ) -> Event | Unreadable:
        """Report an unreadable record or an unknown type; return the event, or a gap for it."""
        if isinstance(event, Unreadable):
            if self._skipped is not None:
                with self._contain():
                    self._skipped.add(feed.log, record, record.value, event)
            self._observer.unreadable(feed.log, record.offset, event.reason, event.detail)
            if event.reason is UnreadableReason.SCHEMA_UNAVAILABLE:
                self._observer.gap(GapReason.SCHEMA)
                offset = record.offset
                gap = feed.gap(GapReason.SCHEMA, offset, offset + 1, record.timestamp)
                return Event(frame.GAP, None, frame.gap_body(gap))
        else:
            self._observer.unknown_type(event.event_type)
        return event

    def _decode(self, feed: PartitionFeed, record: Record) -> Event | Unreadable:
        with self._contained:
            if self._values is not None:
                read = read_value(self._values, feed.log.topic, record)
                if isinstance(read, Unreadable):
                    return read
                record = read
            return self._decoder.decode(record, keyed=feed.keyed, source=feed.topic.source)
        # An unexpected exception costs this record only.
        self._contained = self._contain()
        return Unreadable(UnreadableReason.INTERNAL_ERROR)
