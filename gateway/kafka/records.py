"""Records as aiokafka returns them, turned into the core's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.core.log import RECORD_OVERHEAD, Log, Record, make_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def to_records(fetched: Iterable[Any]) -> list[Record]:
    """Return the core's records for those that aiokafka has unpacked, in order."""
    records = []
    for record in fetched:
        key, value, headers = record.key, record.value, record.headers
        if headers or key is None or value is None:
            made = make_record(record.offset, record.timestamp, key, value, _headers(headers))
        else:  # the same, without a call: it is done for every record that is read
            size = RECORD_OVERHEAD + len(key) + len(value)
            made = Record(record.offset, record.timestamp, key, value, (), size)
        records.append(made)
    return records


def _headers(headers: Sequence[tuple[str, bytes | None]]) -> tuple[tuple[str, bytes], ...]:
    # Kafka knows headers without a value; to the core they are empty.
    return tuple([(name, value or b"") for name, value in headers])


def log_name(log: Log) -> str:
    """Return the log as Kafka's own tools write it: `topic-partition`."""
    return f"{log.topic}-{log.partition}"
