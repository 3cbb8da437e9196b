"""Values: the interface to schemas, which turn binary values into JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.core.records import Record, Unreadable


class Values(Protocol):
    """Reads the values of records; called before a record is decoded."""

    def read(self, topic: str, record: Record) -> bytes | Unreadable:
        """Return a record's value as the decoder reads it, or why it cannot be read.

        `schema_unavailable` is the only reason that is not the record's fault.
        """
        ...
