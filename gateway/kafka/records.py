"""Records as aiokafka returns them, turned into the core's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.core.log import RECORD_OVERHEAD, Log, Record, make_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def to_records(fetched: Iterable[Any]) -> list[Record]:
    """Return the core's records for aiokafka's, in order."""
    return [
        make_record(
            record.offset, record.timestamp, record.key, record.value, _headers(record.headers)
        )
        if record.headers
        # A third of the cost of a record that nobody follows was this function's call.
        else Record(
            record.offset,
            record.timestamp,
            record.key,
            record.value,
            (),
            RECORD_OVERHEAD + len(record.key or b"") + len(record.value or b""),
        )
        for record in fetched
    ]


def _headers(headers: Sequence[tuple[str, bytes | None]]) -> tuple[tuple[str, bytes], ...]:
    # Kafka knows headers without a value; to the core they are empty.
    return tuple([(name, value or b"") for name, value in headers]) if headers else ()


def log_name(log: Log) -> str:
    """Return the log as Kafka's own tools write it: `topic-partition`."""
    return f"{log.topic}-{log.partition}"
