"""Values: the interfaces to schemas, which turn values into JSON, and to skipped records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.core.records import Record, TopicPartition, Unreadable


class Skipped(Protocol):
    """Takes records that are skipped."""

    def add(
        self, log: TopicPartition, record: Record, value: bytes | None, why: Unreadable
    ) -> None:
        """Take a record; `value` is its value before it was read. Returns at once."""
        ...


class Values(Protocol):
    """Reads the values of records; called before a record is decoded."""

    def read(self, topic: str, record: Record) -> bytes | Unreadable:
        """Return a record's value as the decoder reads it, or why it cannot be read.

        `schema_unavailable` is the only reason that is not the record's fault.
        """
        ...
