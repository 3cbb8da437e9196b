"""Values: the interfaces to schemas, which turn values into JSON, and to skipped records."""

from __future__ import annotations

from typing import Protocol, Self

from msgspec.structs import replace

from gateway.core.records import Record, TopicPartition, Unreadable


class Skipped(Protocol):
    """Takes records that are skipped."""

    def add(
        self, log: TopicPartition, record: Record, value: bytes | None, why: Unreadable
    ) -> None:
        """Take a record; `value` is its value before it was read. Returns at once."""


class ReadAhead(bytes):
    """The value of a record that was read before the record was needed, with the result."""

    result: bytes | Unreadable

    def __new__(cls, value: bytes, result: bytes | Unreadable) -> Self:
        """Return the value as it is in the record, with the result of `Values.read` for it."""
        made = super().__new__(cls, value)
        made.result = result
        return made


class Values(Protocol):
    """Reads the values of records; called before a record is decoded."""

    def read(self, topic: str, record: Record) -> bytes | Unreadable:
        """Return a record's value as the decoder reads it, or why it cannot be read.

        `schema_unavailable` is the only reason that is not the record's fault.
        """


def read_value(values: Values | None, topic: str, record: Record) -> Record | Unreadable:
    """Return a copy of the record with its value as JSON, or why the value cannot be read.

    The record itself without `values`, and for an empty value.
    """
    if values is None or not record.value:
        return record
    ahead = record.value
    value = ahead.result if isinstance(ahead, ReadAhead) else values.read(topic, record)
    return value if isinstance(value, Unreadable) else replace(record, value=value)
