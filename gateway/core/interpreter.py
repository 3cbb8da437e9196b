"""Interpreter: decodes each record at most once and reports bad records and keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core import frame
from gateway.core.gap import GapReason
from gateway.core.records import Event, Unreadable, UnreadableReason
from gateway.core.values import read_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.containment import Contain
    from gateway.core.event import Decoder
    from gateway.core.feed import PartitionFeed
    from gateway.core.observer import Observer
    from gateway.core.partitioner import KeyHash
    from gateway.core.records import Record
    from gateway.core.values import Skipped, Values


CHECKED_KEYS = 32
"""Keys of a batch that are checked against the partitioner; murmur2 takes some 5 µs in Python."""


class Interpreter:
    """A decoder that stores the event in its record, so that all streams share it."""

    def __init__(
        self,
        decoder: Decoder,
        key_hash: KeyHash,
        observer: Observer,
        contain: Contain,
        values: Values | None = None,
        skipped: Skipped | None = None,
    ) -> None:
        self._decoder = decoder
        self._key_hash = key_hash
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

    def check_keys(
        self, feed: PartitionFeed, records: Sequence[Record], fresh: Sequence[Record]
    ) -> None:
        """Report invalid keys in `records`, and keys in a wrong partition in `fresh`.

        `fresh` are the records whose keys are new in the tail; at most `CHECKED_KEYS` of a batch
        are checked.
        """
        source, template = feed.topic.source, feed.topic.key
        for record in records:
            key = record.key
            if key and template is None and key.isascii():
                continue
            if not key:
                self._observer.unreadable(feed.log, record.offset, UnreadableReason.NO_KEY)
            elif not _is_utf8(key):
                self._observer.unreadable(feed.log, record.offset, UnreadableReason.KEY_NOT_UTF8)
            elif template is not None and template.name(key) is None:
                form = "" if source is None else f"it is not {source.form}"
                self._observer.unreadable(
                    feed.log, record.offset, UnreadableReason.KEY_MISMATCH, form
                )
        for record in fresh[:CHECKED_KEYS]:
            if not record.key or not _is_utf8(record.key):
                continue
            topic, partition = feed.topic, feed.log.partition
            hashed = self._key_hash(record.key)
            expected = hashed % topic.partitions
            # A producer may still use a former number of partitions.
            if expected != partition and not any(
                hashed % count == partition for count in topic.former
            ):
                self._observer.misplaced(feed.log, record.offset, expected)


def _is_utf8(key: bytes) -> bool:
    try:
        key.decode()
    except UnicodeDecodeError:
        return False
    return True
