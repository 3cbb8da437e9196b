"""Records read as events, at most once each; what is wrong with them is told to the observer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.records import Event, Unreadable, UnreadableReason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.containment import Contain
    from gateway.core.event import Decoder
    from gateway.core.observer import Observer
    from gateway.core.partitioner import KeyHash
    from gateway.core.records import Record
    from gateway.core.stream import PartitionFeed


CHECKED_KEYS = 32
"""Keys of one batch that are held against the partitioner; murmur2 costs some 5 µs in Python."""


class Interpreter:
    """A decoder that remembers its answer in the record, so that all streams share it."""

    def __init__(
        self, decoder: Decoder, key_hash: KeyHash, observer: Observer, contain: Contain
    ) -> None:
        self._decoder = decoder
        self._key_hash = key_hash
        self._observer = observer
        self._contain = contain
        self._contained = contain()
        """Entered for each record that is decoded, so it is made anew only when it has failed."""

    def decode(self, feed: PartitionFeed, record: Record) -> Event | None:
        """Return the record's event, decoded once; None if it cannot be understood."""
        event = record.event
        if event.__class__ is Event:  # most are asked for again
            return event
        if event is None:
            event = record.event = self._decode(feed, record)
            record.value = None
            record.headers = ()
            if isinstance(event, Unreadable):
                self._observer.unreadable(feed.log, record.offset, event.reason, event.detail)
            elif event.category is None:
                self._observer.unknown_type(event.event_type)
        return event if isinstance(event, Event) else None

    def _decode(self, feed: PartitionFeed, record: Record) -> Event | Unreadable:
        with self._contained:
            return self._decoder.decode(record, keyed=feed.keyed)
        # An unforeseen exception costs this record, whoever decodes it.
        self._contained = self._contain()
        return Unreadable(UnreadableReason.INTERNAL_ERROR)

    def check_keys(
        self, feed: PartitionFeed, records: Sequence[Record], fresh: Sequence[Record]
    ) -> None:
        """Report the records whose key is no user id, and keys in the wrong partition.

        Of those only the `fresh` ones, new in the tail, and not all of them in one batch.
        """
        for record in records:
            key = record.key
            if key and key.isascii():
                continue
            if not key:
                self._observer.unreadable(feed.log, record.offset, UnreadableReason.NO_KEY)
            elif not _is_utf8(key):
                self._observer.unreadable(feed.log, record.offset, UnreadableReason.KEY_NOT_UTF8)
        for record in fresh[:CHECKED_KEYS]:
            if not record.key or not _is_utf8(record.key):
                continue
            topic, partition = feed.topic, feed.log.partition
            hashed = self._key_hash(record.key)
            expected = hashed % topic.partitions
            # Where the topic has grown, a producer may not know it yet.
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
