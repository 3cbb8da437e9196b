"""Basic types: partition, record, event, position.

A *position* states how far a partition has been read. Offsets are not dense (compaction,
transaction markers), so they are compared and never subtracted, except to get an upper bound of a
number of records. A variable named `log` holds a `TopicPartition`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec

RECORD_OVERHEAD = 300
"""Bytes of a record in memory besides its key, value and headers: the struct, the object headers of
key and value, two boxed integers, two list slots, and its share of the per-key index. Measured with
tracemalloc on CPython 3.11: 255 if a key has many records, 363 if each record has a unique key.
`tests/core/test_tail.py` checks the value."""

HEADER_OVERHEAD = 150
"""The same for one header: a tuple of two, and the object headers of its name and content."""

TIMESTAMP_LIMIT = 1 << 47
"""Timestamps (ms) from here on, the year 6429, are treated as absent: they are producer errors, and
an event id has 47 bits for a timestamp."""


class LogKind(StrEnum):
    """The kind of a topic: its keys name users or groups, or its events are for all streams."""

    USER = "user"
    GROUP = "group"
    BROADCAST = "broadcast"


class TopicPartition(NamedTuple):
    """One partition of a topic; equal to aiokafka's `TopicPartition`."""

    topic: str
    partition: int


class Moment(NamedTuple):
    """A time, read once by the edge and passed to the core."""

    monotonic: float
    """Seconds, for durations."""
    wall: int
    """Unix time in ms, comparable with Kafka's timestamps."""


class UnreadableReason(StrEnum):
    """Why a record is unreadable; the label of the metric that counts it."""

    EMPTY = "empty"
    """A tombstone, an empty value, or a CloudEvent without data."""
    NO_KEY = "no_key"
    """The record lacks a key, so its user is unknown."""
    KEY_NOT_UTF8 = "key_not_utf8"
    """The key is not UTF-8, so it is not a user id."""
    KEY_MISMATCH = "key_mismatch"
    """The key is not of the form that the source states, so its user or group is unknown."""
    NOT_JSON = "not_json"
    """The value is not JSON."""
    TOO_DEEP = "too_deep"
    """The JSON is nested too deeply to be parsed safely."""
    WRONG_SHAPE = "wrong_shape"
    """The JSON lacks a field or has one of a wrong type; or a CloudEvent has another version or
    format, or no type."""
    BAD_BASE64 = "bad_base64"
    """`data_base64` is not base64."""
    BAD_TYPE = "bad_type"
    """The event type is empty, too long, not UTF-8, or contains a control character."""
    RESERVED_TYPE = "reserved_type"
    """The event type begins with `stream.`, which is reserved for the gateway."""
    BAD_CATEGORY = "bad_category"
    """The `category` header is not UTF-8."""
    USER_MISMATCH = "user_mismatch"
    """The envelope names another user than the key."""
    TOO_LARGE = "too_large"
    """The record takes more memory than `MAX_RECORD_BYTES`."""
    NOT_FRAMED = "not_framed"
    """The source has a `format`, and the value does not begin with a schema id."""
    SCHEMA_UNKNOWN = "schema_unknown"
    """The schema registry does not have the schema."""
    SCHEMA_INVALID = "schema_invalid"
    """The schema cannot be compiled, or is of another format than the source."""
    SCHEMA_MISMATCH = "schema_mismatch"
    """The value cannot be decoded with its schema."""
    SCHEMA_UNAVAILABLE = "schema_unavailable"
    """The schema registry has not answered in time; streams get a gap `schema`."""
    HEADER_NOT_UTF8 = "header_not_utf8"
    """The name of a header is not UTF-8."""
    INTERNAL_ERROR = "internal_error"
    """The decoder raised an unexpected exception; the log has the traceback."""
    CORRUPT = "corrupt"
    """The batch fails its checksum, cannot be decompressed, or is malformed. It counts once: its
    record count cannot be trusted."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """A decoded event: `body` is its frame without the id line.

    `category` is None unless a header or the registry defines one; only streams without a
    filter get such an event.
    """

    event_type: str
    category: str | None
    body: bytes


class Unreadable(msgspec.Struct, frozen=True, gc=False):
    """A record that is not an event; it is skipped, counted and logged.

    `detail` names the missing or invalid field. It never contains data of the producer.
    """

    reason: UnreadableReason
    detail: str = ""


class Record(msgspec.Struct, gc=False):
    """One record of a partition: `offset`, `timestamp` (ms), key, value and headers.

    `event` is the result of decoding, which happens on first use; value and headers are dropped
    then, so that a decoded record takes no more memory than `size`. Untracked by the garbage
    collector: a busy tail holds a hundred thousand records, which cannot form a cycle.
    """

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    size: int = RECORD_OVERHEAD
    event: Event | Unreadable | None = None


def make_record(
    offset: int,
    timestamp: int,
    key: bytes | None,
    value: bytes | None,
    headers: tuple[tuple[str, bytes], ...] = (),
) -> Record:
    """Return a record with its `size`: bytes in memory, including Python's overhead."""
    size = RECORD_OVERHEAD + len(key or b"") + len(value or b"")
    for name, content in headers:
        size += HEADER_OVERHEAD + len(name) + len(content)
    return Record(offset, timestamp, key, value, headers, size)


class OffsetPosition(NamedTuple):
    """A position by offset: every record before `offset` has been read.

    If `seen` is true, `timestamp` (ms) is that of the record at `offset - 1`; a record with another
    timestamp at that offset proves that the partition is another incarnation. If `seen` is false,
    that record is unknown, and `timestamp` is the time at which the position was determined.
    """

    offset: int
    timestamp: int
    seen: bool

    @classmethod
    def after(cls, record: Record) -> OffsetPosition:
        """Return the position after `record`."""
        timestamp = record.timestamp
        if 0 <= timestamp < TIMESTAMP_LIMIT:
            return cls(record.offset + 1, timestamp, True)
        return cls(record.offset + 1, 0, False)


class TimePosition(NamedTuple):
    """A position by time: the first record with `timestamp` (ms) or later.

    Requested by a client with `since=`, and used for streams opened while Kafka is unavailable.
    """

    timestamp: int


Position = OffsetPosition | TimePosition
"""Where a stream is in a partition in which it is behind."""
