"""The nouns that everything else is made of: log, record, position.

A *log* is one partition of a topic. A *record* is one entry of it. A *position* says how far a log
has been seen. Offsets are not dense (compaction, transaction markers), so they are compared and
never subtracted, except where an upper bound of a number of records is all that is wanted.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec

RECORD_OVERHEAD = 300
"""Bytes of a record in memory besides its key, value and headers: the struct, the object headers of
key and value, two boxed integers, its places in two lists, and its share of the per-key index.
Measured with tracemalloc on CPython 3.11: 255 where a key has many records, 363 where each has its
own. `tests/core/test_tail.py` holds it."""

HEADER_OVERHEAD = 150
"""The same for one header: a tuple of two, and the object headers of its name and content."""

TIMESTAMP_LIMIT = 1 << 47
"""Timestamps from here on (the year 6429, in ms) are a producer's mistake, and treated as absent;
47 bits also are what an event id has room for."""


class LogKind(StrEnum):
    """Which of a stream's logs: that of its user's partition, or the broadcast one."""

    USER = "user"
    BROADCAST = "broadcast"


class TopicPartition(NamedTuple):
    """One partition of a topic; equal to Kafka's own pair of the two."""

    topic: str
    partition: int


class Moment(NamedTuple):
    """A time, read once by the edge and passed to the core."""

    monotonic: float
    """Seconds, for durations."""
    wall: int
    """Unix time in ms, for what Kafka's timestamps are compared with."""


class Topic(NamedTuple):
    """A topic as a worker knows it.

    `tag` names its incarnation: cursors made for another cluster or topic carry another tag.
    """

    name: str
    kind: LogKind
    tag: bytes
    partitions: int
    former: tuple[int, ...] = ()
    """How many partitions it had before, as far as this worker has seen it grow."""


class UnreadableReason(StrEnum):
    """What is wrong with a record; the label of the metric that counts it."""

    EMPTY = "empty"
    """A tombstone, an empty value, or a CloudEvent without data: nothing to deliver."""
    NO_KEY = "no_key"
    """The record has no key, so it belongs to no user."""
    KEY_NOT_UTF8 = "key_not_utf8"
    """The key is no UTF-8, so it is no user id."""
    NOT_JSON = "not_json"
    """The value is not JSON."""
    TOO_DEEP = "too_deep"
    """The JSON is nested deeper than it is safe to follow."""
    WRONG_SHAPE = "wrong_shape"
    """The JSON lacks a field or has one of a wrong type; or a CloudEvent of another version or
    format, or without a type."""
    BAD_BASE64 = "bad_base64"
    """`data_base64` is no base64."""
    BAD_TYPE = "bad_type"
    """The event type is empty, over-long, no UTF-8, or holds a control character."""
    RESERVED_TYPE = "reserved_type"
    """The event type begins with `stream.`, which is the gateway's own."""
    BAD_CATEGORY = "bad_category"
    """The `category` header is no UTF-8."""
    USER_MISMATCH = "user_mismatch"
    """The envelope names another user than the key."""
    TOO_LARGE = "too_large"
    """The record takes more memory than `MAX_RECORD_BYTES`."""
    HEADER_NOT_UTF8 = "header_not_utf8"
    """The name of a header is no UTF-8."""
    INTERNAL_ERROR = "internal_error"
    """Decoding raised an unexpected exception, which the log has."""
    CORRUPT = "corrupt"
    """The batch fails its checksum, cannot be decompressed, or is broken inside. It counts once,
    since nothing in it can be trusted to say how many records it had."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """An event ready to send: `body` is all of its frame but the id line.

    `category` is None where neither a header nor the registry gives one; such an event goes to
    streams without a filter only.
    """

    event_type: str
    category: str | None
    body: bytes


class Unreadable(msgspec.Struct, frozen=True, gc=False):
    """A record that is not an event; it is skipped, counted and logged.

    `detail` names the missing or invalid field. It holds nothing that a producer wrote.
    """

    reason: UnreadableReason
    detail: str = ""


class Record(msgspec.Struct, gc=False):
    """One record of a log: `offset`, `timestamp` (ms), and key, value and headers as written.

    `event` is what the record was decoded to, once somebody needed it; value and headers are let go
    then, so that a decoded record takes no more memory than it was counted with. A plain struct
    without garbage collection: a busy tail holds a hundred thousand of them, and none can be part
    of a cycle.
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
    """Return a record that knows its `size`: bytes in memory, Python's own overhead included."""
    size = RECORD_OVERHEAD + len(key or b"") + len(value or b"")
    for name, content in headers:
        size += HEADER_OVERHEAD + len(name) + len(content)
    return Record(offset, timestamp, key, value, headers, size)


class OffsetPosition(NamedTuple):
    """How far a log has been seen: everything before `offset`.

    `timestamp` (ms) is that of the record at `offset - 1` where `seen` is true: it can be compared
    with the log, and a difference proves that the log is another one. Where `seen` is false, that
    record is not known, and `timestamp` only says when the position was taken.
    """

    offset: int
    timestamp: int
    seen: bool

    @classmethod
    def after(cls, record: Record) -> OffsetPosition:
        """Return the position of one who has seen `record`, and everything before it."""
        if 0 <= record.timestamp < TIMESTAMP_LIMIT:
            return cls(record.offset + 1, record.timestamp, True)
        return cls(record.offset + 1, 0, False)


class TimePosition(NamedTuple):
    """A place in a log given by time: its first record of `timestamp` (ms) or later.

    What a client asks for with `since=`, and where a stream begins that was opened while Kafka was
    away.
    """

    timestamp: int


Position = OffsetPosition | TimePosition
"""Where a stream is in a log that it has not caught up with yet."""
