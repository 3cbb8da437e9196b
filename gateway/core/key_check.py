"""Key check: reports invalid record keys, and keys in another partition than expected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.json_text import text
from gateway.core.records import UnreadableReason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.feed import PartitionFeed
    from gateway.core.observer import Observer
    from gateway.core.partitioner import KeyHash
    from gateway.core.records import Record

CHECKED_KEYS = 32
"""Keys of a batch that are checked against the partitioner; murmur2 takes some 5 µs in Python."""


class KeyCheck:
    """Checks the keys of fetched records; the records themselves may stay undecoded."""

    def __init__(self, key_hash: KeyHash, observer: Observer) -> None:
        self._key_hash = key_hash
        self._observer = observer

    def check(
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
            elif text(key) is None:
                self._observer.unreadable(feed.log, record.offset, UnreadableReason.KEY_NOT_UTF8)
            elif template is not None and template.name(key) is None:
                form = "" if source is None else f"it is not {source.form}"
                self._observer.unreadable(
                    feed.log, record.offset, UnreadableReason.KEY_MISMATCH, form
                )
        for record in fresh[:CHECKED_KEYS]:
            if not record.key or text(record.key) is None:
                continue
            topic, partition = feed.topic, feed.log.partition
            hashed = self._key_hash(record.key)
            expected = hashed % topic.partitions
            # A producer may still use a former number of partitions.
            if expected != partition and not any(
                hashed % count == partition for count in topic.former
            ):
                self._observer.misplaced(feed.log, record.offset, expected)
