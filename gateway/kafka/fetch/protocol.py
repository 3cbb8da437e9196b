"""The Fetch request and response, versions 4 to 17, encoded and decoded by `struct`.

The schema is Kafka's `FetchRequest.json` and `FetchResponse.json`. What each version adds:

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

from gateway.core.records import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

API_KEY = 1
OLDEST, NEWEST = 4, 17
"""The versions that are implemented."""
SESSIONS, EPOCHS, RACKS, FLEXIBLE, TOPIC_IDS, NO_REPLICA_ID = 7, 9, 11, 12, 13, 15
"""The version that adds each feature."""

READ_COMMITTED = 1
NONE = -1
"""An epoch, replica or offset that is not known."""

_HEAD = struct.Struct(">iiiib")  # replica id, max wait, min bytes, max bytes, isolation level
_SESSION = struct.Struct(">ii")
_ASK_4 = struct.Struct(">iqi")
_ASK_5 = struct.Struct(">iqqi")
_ASK_9 = struct.Struct(">iiqqi")
_ASK_12 = struct.Struct(">iiqiqiB")
_ANSWER_4 = struct.Struct(">ihqq")
_ANSWER_5 = struct.Struct(">ihqqq")
_ABORTED = struct.Struct(">qq")
_SHORT, _INT = struct.Struct(">h"), struct.Struct(">i")
_OPENING = struct.Struct(">ihi")  # throttle time, error, session id
_EPOCH_END = struct.Struct(">iq")

_DIVERGING_EPOCH = 0
"""Tagged field of a partition in a response."""

_TAGS_MOST = 1000
"""Upper bound of tagged fields in one place: a larger number is a malformed response."""


class MalformedResponseError(ValueError):
    """A response that does not follow the protocol; the connection is of no further use."""


class FetchPosition(NamedTuple):
    """Where a partition is read: one line of a request."""

    offset: int
    leader_epoch: int = NONE
    """Of the leader that the client knows; a broker with another one rejects the request."""
    last_epoch: int = NONE
    """Leader epoch of the record before `offset`; the broker reports where its log diverges."""
    topic_id: bytes = b""
    """16 bytes, or empty where the brokers have no topic ids."""


class Limits(NamedTuple):
    """How long a broker may hold a fetch, and how much it returns."""

    wait_ms: int
    min_bytes: int = 1
    max_bytes: int = 4 << 20
    partition_bytes: int = 1 << 20


class Answer(NamedTuple):
    """What a response says of one partition."""

    log: TopicPartition
    error: int
    high_watermark: int = NONE
    stable: int = NONE
    """Last stable offset: readers of committed records get no further."""
    start: int = NONE
    aborted: tuple[tuple[int, int], ...] = ()
    """Producer id and first offset of each aborted transaction among the records."""
    preferred: int = NONE
    """Node id of the follower to read from, or -1."""
    diverging: tuple[int, int] | None = None
    """An epoch and its end offset, where the log does not hold what the client has read."""
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

    `session` is the session id and epoch; (0, -1) asks without a session. `forgotten` are
    partitions to remove from the session, each with its topic id.
    """
    wait_ms, min_bytes, max_bytes, partition_bytes = limits
    head = _HEAD.pack(NONE, wait_ms, min_bytes, max_bytes, READ_COMMITTED)
    parts = [head if version < NO_REPLICA_ID else head[4:]]
    if version >= SESSIONS:
        parts.append(_SESSION.pack(*session))
    topics: dict[tuple[str, bytes], list[bytes]] = {}
    for (topic, number), position in asked:
        offset, leader_epoch, last_epoch, topic_id = position
        if version >= FLEXIBLE:
            line = _ASK_12.pack(number, leader_epoch, offset, last_epoch, NONE, partition_bytes, 0)
        elif version >= EPOCHS:
            line = _ASK_9.pack(number, leader_epoch, offset, NONE, partition_bytes)
        elif version >= 5:
            line = _ASK_5.pack(number, offset, NONE, partition_bytes)
        else:
            line = _ASK_4.pack(number, offset, partition_bytes)
        topics.setdefault((topic, topic_id), []).append(line)
    parts.append(_topics(version, topics))
    if version >= SESSIONS:
        gone: dict[tuple[str, bytes], list[bytes]] = {}
        for (topic, number), topic_id in forgotten:
            gone.setdefault((topic, topic_id), []).append(_INT.pack(number))
        parts.append(_topics(version, gone))
    if version >= FLEXIBLE:
        parts += [_compact(rack.encode()), b"\0"]
    elif version >= RACKS:
        parts.append(_string(rack))
    return b"".join(parts)


def _topics(version: int, topics: Mapping[tuple[str, bytes], list[bytes]]) -> bytes:
    parts = [_size(version, len(topics))]
    for (topic, topic_id), lines in topics.items():
        if version >= TOPIC_IDS:
            parts.append(topic_id)
        elif version >= FLEXIBLE:
            parts.append(_compact(topic.encode()))
        else:
            parts.append(_string(topic))
        parts.append(_size(version, len(lines)))
        parts += lines
        if version >= FLEXIBLE:
            parts.append(b"\0")
    return b"".join(parts)


def _size(version: int, number: int) -> bytes:
    return _uvarint(number + 1) if version >= FLEXIBLE else _INT.pack(number)


def _string(text: str) -> bytes:
    data = text.encode()
    return _SHORT.pack(len(data)) + data


def _compact(data: bytes) -> bytes:
    return _uvarint(len(data) + 1) + data


def _uvarint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def decode(version: int, body: bytes, names: Mapping[bytes, str]) -> Response:
    """Return what a response says; `names` are those of the topic ids that were asked for.

    Raises `MalformedResponseError`. Partitions of an unknown topic id are left out.
    """
    try:
        return _decode(version, body, names)
    except (struct.error, IndexError, UnicodeDecodeError, OverflowError) as error:
        raise MalformedResponseError(f"malformed fetch response: {error}") from None


def _decode(version: int, body: bytes, names: Mapping[bytes, str]) -> Response:
    source = _Source(body, version >= FLEXIBLE)
    error = session_id = 0
    if version >= SESSIONS:
        throttle_ms, error, session_id = source.fields(_OPENING)
    else:
        (throttle_ms,) = source.fields(_INT)
    answers: list[Answer] = []
    for _ in range(source.size()):
        topic = names.get(source.take(16)) if version >= TOPIC_IDS else source.string()
        for _ in range(source.size()):
            number, answer = _partition(source, version)
            if topic is not None:
                answers.append(answer._replace(log=TopicPartition(topic, number)))
        source.tags()
    source.tags()
    return Response(throttle_ms, error, session_id, answers)


_UNNAMED = TopicPartition("", NONE)


def _partition(source: _Source, version: int) -> tuple[int, Answer]:
    start = preferred = NONE
    if version >= 5:
        number, error, high_watermark, stable, start = source.fields(_ANSWER_5)
    else:
        number, error, high_watermark, stable = source.fields(_ANSWER_4)
    aborted = tuple([source.transaction() for _ in range(source.size())])
    if version >= RACKS:
        (preferred,) = source.fields(_INT)
    records = source.data()
    diverging = None
    for tag, content in source.tags():
        if tag == _DIVERGING_EPOCH:
            epoch, end = _EPOCH_END.unpack_from(content)
            if epoch != NONE or end != NONE:
                diverging = epoch, end
    answer = Answer(
        _UNNAMED, error, high_watermark, stable, start, aborted, preferred, diverging, records
    )
    return number, answer


class _Source:
    """A response that is read from its start to its end."""

    def __init__(self, body: bytes, flexible: bool) -> None:
        self._body = body
        self._at = 0
        self._flexible = flexible

    def fields(self, layout: struct.Struct) -> tuple[int, ...]:
        values = layout.unpack_from(self._body, self._at)
        self._at += layout.size
        return values

    def take(self, size: int) -> bytes:
        end = self._at + size
        if size < 0 or end > len(self._body):
            raise IndexError("a length beyond the end")
        data = self._body[self._at : end]
        self._at = end
        return data

    def uvarint(self) -> int:
        number = shift = 0
        while True:
            byte = self._body[self._at]
            self._at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7
            if shift > 28:
                raise IndexError("a number of more than five bytes")

    def size(self) -> int:
        """Return the length of an array; that of none is 0."""
        size = self.uvarint() - 1 if self._flexible else self.fields(_INT)[0]
        if size > len(self._body) - self._at:
            raise IndexError("an array beyond the end")
        return max(0, size)

    def string(self) -> str:
        size = self.uvarint() - 1 if self._flexible else self.fields(_SHORT)[0]
        return self.take(size).decode()

    def data(self) -> bytes:
        """Return records: bytes with their length before them."""
        size = self.uvarint() - 1 if self._flexible else self.fields(_INT)[0]
        return self.take(max(0, size))

    def transaction(self) -> tuple[int, int]:
        producer, first = self.fields(_ABORTED)
        self.tags()
        return producer, first

    def tags(self) -> list[tuple[int, bytes]]:
        """Return tagged fields; none in versions without them."""
        if not self._flexible:
            return []
        number = self.uvarint()
        if number > _TAGS_MOST:
            raise IndexError("too many tagged fields")
        return [(self.uvarint(), self.take(self.uvarint())) for _ in range(number)]
