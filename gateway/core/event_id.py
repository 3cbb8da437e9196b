"""Event ids: a cursor as text.

The gateway sends an id in `id:`, and the client returns it in `Last-Event-ID` (HTML standard,
§9.2). Clients treat it as opaque; `gateway id` decodes it. There are two versions. A gateway writes
version 1 if it has one user topic and one broadcast topic, and version 2 if `GATEWAY_SOURCES` is
set. It reads both.

Version 1:

    "1"  then for each partition:  kind (1 character)  +  28 characters of base64url (RFC 4648, §5)

The kind is `u` for a partition of the user topic and `b` for the broadcast topic. The 28 characters
are 21 bytes, big-endian, without padding:

    bytes  0- 3   tag of the topic's incarnation
    bytes  4- 6   partition
    bytes  7-14   next offset; all ones for a position by time
    bytes 15-20   timestamp in ms (47 bits), then one bit: 1 if it is that of the previous record

Version 2:

    "2"  then for each partition:  letter (1 character)  +  24 characters of base64url

The letter and the first of 18 bytes are the mark of the topic's name, so an entry of a topic that
is not configured can be told from one of a topic that was recreated:

    byte   0      second part of the mark
    bytes  1- 3   tag of the topic's incarnation
    bytes  4- 5   partition
    bytes  6-11   next offset; all ones for a position by time
    bytes 12-17   as in version 1

Every accepted text stands for exactly one cursor and every cursor for one text. An id of version 1
has 30, 59 or 88 characters; one of version 2 has 1 + 25 for each partition. The part of one
partition (an entry) is encoded once for all streams that follow the partition.

An id is untrusted input. `parse` checks the format only and raises only `EventIdError`;
`gateway.core.replay_plan` verifies the cursor against the partition.
"""

from __future__ import annotations

import hashlib
import struct
from binascii import a2b_base64, b2a_base64
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from gateway.core.records import (
    TIMESTAMP_LIMIT,
    LogKind,
    OffsetPosition,
    Position,
    Record,
    TimePosition,
)
from gateway.errors import EventIdError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.source import Topic


MARK_LENGTH = 2
"""Bytes of the mark of a topic name, `gateway.core.source.name_mark`."""
MAX_LENGTH = 96
"""Characters of an id of version 1."""
MAX_ENTRIES = 3
"""Of version 1: the user's partition, its former one while the topic gains partitions, and the
broadcasts."""
MAX_ENTRIES_2 = 64
"""Of version 2: each source has one entry, two while its topic gains partitions, or one for each of
the reader's groups."""
MAX_LENGTH_2 = 1 + 25 * MAX_ENTRIES_2
"""Characters of an id of version 2."""

FORM = "^1([ub][A-Za-z0-9_-]{28}){1,3}$"
"""Regular expression that every id of version 1 matches."""
FORM_2 = f"^2([A-Za-z0-9_-]{{25}}){{0,{MAX_ENTRIES_2}}}$"
"""The same for version 2."""

_LAYOUT = struct.Struct(">4sHBQHI")  # partition as 2 + 1 bytes, timestamp as 2 + 4 bytes
_LAYOUT_2 = struct.Struct(">4sHHIHI")  # offset and timestamp as 2 + 4 bytes
_BY_TIME = (1 << 64) - 1
_BY_TIME_2 = (1 << 48) - 1
_MAX_PARTITION_2 = 0xFFFF
_KIND_TO_LETTER = {LogKind.USER: b"u", LogKind.BROADCAST: b"b"}
_LETTER_TO_KIND = {"u": LogKind.USER, "b": LogKind.BROADCAST}
_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_+/=", b"+/***")  # `+`, `/` and `=` are not in base64url
_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


class Version(StrEnum):
    """The version of an id: its first character."""

    ONE = "1"
    TWO = "2"


class CursorEntry(NamedTuple):
    """The part of an id for one partition."""

    kind: LogKind | None
    """The kind of the topic in version 1; None in version 2."""
    tag: bytes
    """4 bytes of the topic's incarnation; in version 2 the mark of its name (2 bytes), then 3."""
    partition: int
    position: Position

    @property
    def mark(self) -> bytes:
        """The mark of the topic's name in version 2; empty in version 1."""
        return b"" if self.kind is not None else self.tag[:MARK_LENGTH]


def incarnation_tag(cluster_id: str, topic: str, topic_id: bytes = b"") -> bytes:
    """Return the 4 bytes that identify an incarnation of a topic.

    `topic_id` is Kafka's id of the incarnation (KIP-516), empty on brokers without topic ids. The
    tag is a hash, so that an id reveals nothing about the cluster. 32 bits are enough: after a
    collision, offsets and timestamps still detect a different topic.
    """
    named = f"{cluster_id}\0{topic}".encode() + (b"\0" + topic_id if topic_id else b"")
    return hashlib.blake2b(named, digest_size=4).digest()


def short_tag(mark: bytes, tag: bytes) -> bytes:
    """Return the tag of a topic in version 2: the mark of its name, and 3 bytes of its tag."""
    return mark + tag[:3]


def encode_entry(kind: LogKind | None, tag: bytes, partition: int, position: Position) -> bytes:
    """Return the entry of one partition: 29 characters, or 25 in version 2 (`kind` is None).

    Version 2 has 48 bits for an offset. A higher offset is encoded as a position by time.
    """
    if isinstance(position, OffsetPosition):
        offset, moment = position.offset, position.timestamp << 1 | position.seen
    else:
        offset, moment = _BY_TIME, position.timestamp << 1
    if kind is None:
        return _encode_short(tag, partition, offset, moment)
    packed = _LAYOUT.pack(
        tag, partition >> 8, partition & 0xFF, offset, moment >> 32, moment & 0xFFFFFFFF
    )
    return _KIND_TO_LETTER[kind] + b2a_base64(packed, newline=False).translate(_TO_URL)


def encode_entry_after(
    kind: LogKind | None, tag: bytes, partition: int, offset: int, timestamp: int
) -> bytes:
    """Return the entry of the position after a record.

    `timestamp` (ms) is treated as absent if it does not fit 47 bits. Equals `encode_entry` of
    `OffsetPosition.after`, without building a position: this runs for each event sent.
    """
    moment = timestamp << 1 | 1 if 0 <= timestamp < TIMESTAMP_LIMIT else 0
    if kind is None:
        return _encode_short(tag, partition, offset + 1, moment)
    packed = _LAYOUT.pack(
        tag, partition >> 8, partition & 0xFF, offset + 1, moment >> 32, moment & 0xFFFFFFFF
    )
    return _KIND_TO_LETTER[kind] + b2a_base64(packed, newline=False).translate(_TO_URL)


def encode_entries_after(
    kind: LogKind | None, tag: bytes, partition: int, records: Sequence[Record]
) -> list[bytes]:
    """Return `encode_entry_after` of records of one partition, with one call of base64 for all."""
    if kind is None:
        return [encode_entry_after(kind, tag, partition, r.offset, r.timestamp) for r in records]
    letter, high, low, pack = _KIND_TO_LETTER[kind], partition >> 8, partition & 0xFF, _LAYOUT.pack
    packed = []
    for record in records:
        timestamp = record.timestamp
        moment = timestamp << 1 | 1 if 0 <= timestamp < TIMESTAMP_LIMIT else 0
        packed.append(pack(tag, high, low, record.offset + 1, moment >> 32, moment & 0xFFFFFFFF))
    text = b2a_base64(b"".join(packed), newline=False).translate(_TO_URL)
    return [letter + text[begin : begin + 28] for begin in range(0, len(text), 28)]


def _encode_short(tag: bytes, partition: int, offset: int, moment: int) -> bytes:
    if offset >= _BY_TIME_2:
        offset, moment = _BY_TIME_2, moment & ~1
    packed = _LAYOUT_2.pack(
        tag[1:], partition, offset >> 32, offset & 0xFFFFFFFF, moment >> 32, moment & 0xFFFFFFFF
    )
    return tag[:1] + b2a_base64(packed, newline=False).translate(_TO_URL)


def is_current(entry: CursorEntry, topic: Topic) -> bool:
    """Return whether the entry is of this incarnation of the topic, by its tag."""
    tag = topic.tag if entry.kind is not None else short_tag(topic.mark, topic.tag)
    return entry.tag == tag


def owner(entry: CursorEntry, topics: Sequence[Topic]) -> Topic | None:
    """Return the topic of an entry, also if it was recreated; None if it is not among `topics`.

    An entry of version 1 names only the kind of its topic. Of several topics of that kind the one
    with its tag is meant, or the first one, where it leads to a gap `reset`.
    """
    if entry.kind is None:
        return next((topic for topic in topics if topic.mark == entry.mark), None)
    same = [topic for topic in topics if topic.kind is entry.kind]
    return next((topic for topic in same if topic.tag == entry.tag), same[0] if same else None)


def by_topic(
    cursor: Sequence[CursorEntry], topics: Sequence[Topic]
) -> dict[str, list[CursorEntry]]:
    """Return the entries of a cursor by the name of their topic, without those of other topics."""
    found: dict[str, list[CursorEntry]] = {}
    for entry in cursor:
        topic = owner(entry, topics)
        if topic is not None:
            found.setdefault(topic.name, []).append(entry)
    return found


def convert(entry: CursorEntry, version: Version, kind: LogKind, mark: bytes) -> CursorEntry:
    """Return the entry in `version`, as one of the topic with this kind and mark.

    The other version has another number of bits for tag and partition, so only an entry that
    matches no incarnation or no partition of the topic may be converted.
    """
    if version is Version.TWO and entry.kind is not None:
        partition = min(entry.partition, _MAX_PARTITION_2)
        return CursorEntry(None, short_tag(mark, entry.tag), partition, entry.position)
    if version is Version.ONE and entry.kind is None:
        return CursorEntry(kind, entry.tag[MARK_LENGTH:] + b"\0", entry.partition, entry.position)
    return entry


def encode(entries: list[CursorEntry]) -> bytes:
    """Return the id of a cursor: one entry for each partition, in this order.

    All entries must be of one version. Without entries the id is that of a stream without
    partitions, in version 2.
    """
    two = not entries or entries[0].kind is None
    most = MAX_ENTRIES_2 if two else MAX_ENTRIES
    assert len(entries) <= most, f"0 to {most} entries, not {len(entries)}"
    assert all((entry.kind is None) is two for entry in entries), "entries of one version"
    version = Version.TWO if two else Version.ONE
    return version.encode() + b"".join([encode_entry(*entry) for entry in entries])


def parse(text: str) -> list[CursorEntry]:
    """Return the entries of an id, in order.

    Raises `EventIdError` for every text that `encode` does not produce.
    """
    entries = _parse_two(text) if text[:1] == Version.TWO else _parse_one(text)
    if len({(entry.kind, entry.mark, entry.partition) for entry in entries}) != len(entries):
        raise EventIdError("an event id has one entry for each partition")
    return entries


def _parse_one(text: str) -> list[CursorEntry]:
    count, rest = divmod(len(text) - 1, 29)
    if len(text) > MAX_LENGTH or rest or not 0 < count <= MAX_ENTRIES:
        raise EventIdError(
            "an event id has 30, 59 or 88 characters, or 1 + 25 for each partition in version 2"
        )
    if text[0] != Version.ONE:
        raise EventIdError("an event id begins with its version, 1 or 2")
    return [_parse_entry(text[1 + i * 29 :][:29]) for i in range(count)]


def _parse_two(text: str) -> list[CursorEntry]:
    count, rest = divmod(len(text) - 1, 25)
    if rest or count > MAX_ENTRIES_2:
        raise EventIdError(
            f"an event id of version 2 has 1 + 25 characters for each of at most {MAX_ENTRIES_2}"
            " partitions"
        )
    return [_parse_short(text[1 + i * 25 :][:25]) for i in range(count)]


def _parse_entry(text: str) -> CursorEntry:
    kind = _LETTER_TO_KIND.get(text[0])
    if kind is None:
        raise EventIdError("each entry of an event id begins with u or b")
    tag, high, low, offset, upper, lower = _LAYOUT.unpack(_decoded(text[1:]))
    if offset != _BY_TIME and offset >= 1 << 63:
        raise EventIdError("an offset has 63 bits")
    position = _position(offset, _BY_TIME, upper << 32 | lower)
    return CursorEntry(kind, tag, high << 8 | low, position)


def _parse_short(text: str) -> CursorEntry:
    letter = text[0]
    if letter not in _ALPHABET:
        raise EventIdError("each entry of an event id begins with a letter of base64url")
    tag, partition, high, low, upper, lower = _LAYOUT_2.unpack(_decoded(text[1:]))
    position = _position(high << 32 | low, _BY_TIME_2, upper << 32 | lower)
    return CursorEntry(None, letter.encode() + tag, partition, position)


def _decoded(text: str) -> bytes:
    try:
        return a2b_base64(text.encode().translate(_FROM_URL), strict_mode=True)
    except ValueError:  # also a surrogate, which UTF-8 does not encode
        raise EventIdError("an event id is written in base64url") from None


def _position(offset: int, by_time: int, moment: int) -> Position:
    timestamp, seen = moment >> 1, bool(moment & 1)
    if offset != by_time:
        return OffsetPosition(offset, timestamp, seen)
    if seen:
        raise EventIdError("a position by time cannot have a previous record")
    return TimePosition(timestamp)
