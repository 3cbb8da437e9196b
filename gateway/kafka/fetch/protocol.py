"""Encodes Fetch requests and decodes responses, versions 4 to 17, by `struct`.

The schema is Kafka's `FetchRequest.json` and `FetchResponse.json`. Changes by version:

| version | adds |
| --- | --- |
| 4 | isolation level, last stable offset, aborted transactions |
| 5 | log start offset |
| 7 | fetch sessions: session id and epoch, forgotten partitions (KIP-227) |
| 9 | current leader epoch (KIP-320) |
| 11 | rack of the client, preferred read replica (KIP-392) |
| 12 | flexible encoding, last fetched epoch, diverging epoch (KIP-595) |
| 13 | topic ids instead of names (KIP-516) |
| 15 | replica id is removed |

Only the body is encoded here; `Connection.request` adds the header.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.core.records import TopicPartition
from gateway.kafka.client.wire import (
    FETCH,
    MALFORMED,
    NO_TAGS,
    Reader,
    array_head,
    string,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

API_KEY = FETCH
OLDEST, NEWEST = 4, 17
"""The versions that are implemented."""
SESSIONS, EPOCHS, RACKS, FLEXIBLE, TOPIC_IDS, NO_REPLICA_ID = 7, 9, 11, 12, 13, 15
"""The version that adds each feature."""

READ_COMMITTED = 1
NONE = -1
"""An unknown epoch, replica or offset."""

_HEAD = struct.Struct(">iiiib")  # replica id, max wait, min bytes, max bytes, isolation level
_SESSION = struct.Struct(">ii")
_ASK_4 = struct.Struct(">iqi")
_ASK_5 = struct.Struct(">iqqi")
_ASK_9 = struct.Struct(">iiqqi")
_ASK_12 = struct.Struct(">iiqiqiB")
_ANSWER_4 = struct.Struct(">ihqq")
_ANSWER_5 = struct.Struct(">ihqq8x")  # the start of the log is not used
_USUAL = struct.Struct(">ihqq8xBiBB")
"""The same, then an empty array, the preferred replica, and two bytes of the records' length."""
_VARINT_MOST = 0x7F
"""The highest number in one byte of a varint."""
_EMPTY = 1
"""Length prefix of an empty compact array; 0 means null."""
_ABORTED = struct.Struct(">qq")
_INT = struct.Struct(">i")
_OPENING = struct.Struct(">ihi")  # throttle time, error, session id
_EPOCH_END = struct.Struct(">iq")

_DIVERGING_EPOCH = 0
"""Tagged field of a partition in a response."""


THROTTLE_MOST_MS = 30_000
"""Maximum throttle time that is respected; Kafka computes quotas over windows of 11 s."""


class MalformedResponseError(ValueError):
    """A response that violates the protocol; the connection must be closed."""


class FetchPosition(msgspec.Struct, frozen=True, gc=False):
    """The position at which a partition is read: one entry of a request."""

    offset: int
    leader_epoch: int = NONE
    """Leader epoch in the client's metadata; a broker with another epoch rejects the request."""
    last_epoch: int = NONE
    """Leader epoch of the record before `offset`; the broker reports where its log diverges."""
    topic_id: bytes = b""
    """16 bytes, or empty for brokers without topic ids."""


class Limits(NamedTuple):
    """Maximum wait of a fetch; size limits of its response and of each partition."""

    wait_ms: int
    min_bytes: int = 1
    max_bytes: int = 4 << 20
    partition_bytes: int = 1 << 20


class Answer(msgspec.Struct, gc=False):
    """The part of a response about one partition."""

    log: TopicPartition
    error: int
    high_watermark: int = NONE
    stable: int = NONE
    """Last stable offset: the end of the log for `read_committed`."""
    aborted: tuple[tuple[int, int], ...] = ()
    """Producer id and first offset of each aborted transaction among the records."""
    preferred: int = NONE
    """Node id of the follower to read from, or -1."""
    diverging: tuple[int, int] | None = None
    """An epoch and its end offset, if the log lacks records that the client has read."""
    records: bytes = b""


class Response(NamedTuple):
    """A decoded response. `error` and `session_id` concern the session."""

    throttle_ms: int
    error: int
    session_id: int
    answers: list[Answer]


def encode(
    version: int,
    limits: Limits,
    session: tuple[int, int],
    asked: Iterable[tuple[TopicPartition, FetchPosition]],
    forgotten: Iterable[tuple[TopicPartition, bytes]] = (),
    rack: str = "",
) -> bytes:
    """Return the body of a request.

    `session` is the session id and epoch; (0, -1) fetches without a session. `forgotten` are
    partitions to remove from the session, each with its topic id.
    """
    wait_ms, min_bytes, max_bytes, partition_bytes = limits
    head = _HEAD.pack(NONE, wait_ms, min_bytes, max_bytes, READ_COMMITTED)
    parts = [head if version < NO_REPLICA_ID else head[4:]]
    if version >= SESSIONS:
        parts.append(_SESSION.pack(*session))
    topics: dict[tuple[str, bytes], list[bytes]] = {}
    lines: list[bytes] = []
    name = uuid = None
    for (topic, number), position in asked:
        if topic != name or position.topic_id != uuid:
            name, uuid = topic, position.topic_id
            lines = topics.setdefault((topic, uuid), [])
        offset, epoch = position.offset, position.leader_epoch
        if version >= FLEXIBLE:
            last_epoch = position.last_epoch
            line = _ASK_12.pack(number, epoch, offset, last_epoch, NONE, partition_bytes, 0)
        elif version >= EPOCHS:
            line = _ASK_9.pack(number, epoch, offset, NONE, partition_bytes)
        elif version >= 5:
            line = _ASK_5.pack(number, offset, NONE, partition_bytes)
        else:
            line = _ASK_4.pack(number, offset, partition_bytes)
        lines.append(line)
    parts.append(_topics(version, topics))
    if version >= SESSIONS:
        gone: dict[tuple[str, bytes], list[bytes]] = {}
        for (topic, number), topic_id in forgotten:
            gone.setdefault((topic, topic_id), []).append(_INT.pack(number))
        parts.append(_topics(version, gone))
    if version >= RACKS:
        parts.append(string(rack, version >= FLEXIBLE))
    if version >= FLEXIBLE:
        parts.append(NO_TAGS)
    return b"".join(parts)


def _topics(version: int, topics: Mapping[tuple[str, bytes], list[bytes]]) -> bytes:
    flexible = version >= FLEXIBLE
    parts = [array_head(len(topics), flexible)]
    for (topic, topic_id), lines in topics.items():
        parts.append(topic_id if version >= TOPIC_IDS else string(topic, flexible))
        parts.append(array_head(len(lines), flexible))
        parts += lines
        if flexible:
            parts.append(NO_TAGS)
    return b"".join(parts)


def decode(version: int, body: bytes, names: Mapping[bytes, str]) -> Response:
    """Decode a response; `names` maps the requested topic ids to topic names.

    Raises `MalformedResponseError`. Partitions of an unknown topic id are left out.
    """
    try:
        return _decode(version, body, names)
    except MALFORMED as error:
        raise MalformedResponseError(f"malformed fetch response: {error}") from None


def _decode(version: int, body: bytes, names: Mapping[bytes, str]) -> Response:
    source = Reader(body, version >= FLEXIBLE)
    error = session_id = 0
    if version >= SESSIONS:
        throttle_ms, error, session_id = source.fields(_OPENING)
    else:
        (throttle_ms,) = source.fields(_INT)
    answers: list[Answer] = []
    for _ in range(source.count()):
        topic = names.get(source.raw(16)) if version >= TOPIC_IDS else source.string()
        found: list[Answer] = []
        count = source.count()
        while len(found) < count:
            if version >= FLEXIBLE:
                _read_usual(source, topic or "", count, found)
            if len(found) < count:
                found.append(_partition(source, version, topic or ""))
        if topic is not None:
            answers += found
        source.tags()
    source.tags()
    return Response(max(0, min(throttle_ms, THROTTLE_MOST_MS)), error, session_id, answers)


def _read_usual(source: Reader, topic: str, count: int, found: list[Answer]) -> None:
    """Append flexible answers without aborted transactions and tagged fields, up to `count`.

    Stops before any other answer. Runs for each partition with records of each fetch.
    """
    data, at, unpack, size = source.data, source.at, _USUAL.unpack_from, _USUAL.size
    last = len(data) - size
    while len(found) < count and at <= last:
        number, error, end, stable, aborted, preferred, low, high = unpack(data, at)
        if aborted > _EMPTY:
            return
        at += size
        if low <= _VARINT_MOST:  # the length + 1 is a varint, of two bytes as a rule
            at -= 1
            stop = at + max(low - 1, 0)
        elif high <= _VARINT_MOST:
            stop = at + low + (high << 7) - _VARINT_MOST - 2
        else:
            length = Reader(data, flexible=True, at=at - 2)
            stop = length.uvarint() - 1
            at = length.at
            stop += at
        if data[stop]:
            return
        log = tuple.__new__(TopicPartition, (topic, number))  # as its constructor, but faster
        found.append(Answer(log, error, end, stable, (), preferred, None, data[at:stop]))
        source.at = at = stop + 1


def _partition(source: Reader, version: int, topic: str) -> Answer:
    preferred = NONE
    number, error, end, stable = source.fields(_ANSWER_5 if version >= 5 else _ANSWER_4)
    aborted = tuple([_transaction(source) for _ in range(source.count())])
    if version >= RACKS:
        (preferred,) = source.fields(_INT)
    records = source.bytes()
    diverging = None
    content = source.tags().get(_DIVERGING_EPOCH)
    if content is not None:
        epoch, offset = _EPOCH_END.unpack_from(content)
        if epoch != NONE or offset != NONE:
            diverging = epoch, offset
    log = TopicPartition(topic, number)
    return Answer(log, error, end, stable, aborted, preferred, diverging, records)


def _transaction(source: Reader) -> tuple[int, int]:
    producer, first = source.fields(_ABORTED)
    source.tags()
    return producer, first
