"""Event ids: a cursor as text.

The gateway sends an id in `id:`, and the client returns it in `Last-Event-ID` (HTML standard,
§9.2). Clients treat it as opaque; `gateway id` decodes it. Layout, version 1:

    "1"  then for each partition:  kind (1 character)  +  28 characters of base64url (RFC 4648, §5)

The kind is `u` for a partition of the user topic and `b` for the broadcast topic. The 28 characters
are 21 bytes, big-endian, without padding:

    bytes  0- 3   tag of the topic's incarnation
    bytes  4- 6   partition
    bytes  7-14   next offset; all ones for a position by time
    bytes 15-20   timestamp in ms (47 bits), then one bit: 1 if it is that of the previous record

Every accepted text stands for exactly one cursor and every cursor for one text, and an id has 30,
59 or 88 characters. The part of one partition (an entry) is encoded once for all streams that
follow the partition.

An id is untrusted input. `parse` checks the format only and raises only `EventIdError`;
`gateway.core.replay_plan` verifies the cursor against the partition.
"""

from __future__ import annotations

import hashlib
import struct
from binascii import a2b_base64, b2a_base64
from typing import NamedTuple

from gateway.core.records import TIMESTAMP_LIMIT, LogKind, OffsetPosition, Position, TimePosition
from gateway.errors import EventIdError

VERSION = b"1"
MAX_LENGTH = 96
MAX_ENTRIES = 3
"""The user's partition, its former one while the topic gains partitions, and the broadcasts."""

FORM = "^1([ub][A-Za-z0-9_-]{28}){1,3}$"
"""Regular expression that every id matches."""

_ENTRY_LENGTH = 29
_LAYOUT = struct.Struct(">4sHBQHI")  # partition as 2 + 1 bytes, timestamp as 2 + 4 bytes
_BY_TIME = (1 << 64) - 1
_KIND_TO_LETTER = {LogKind.USER: b"u", LogKind.BROADCAST: b"b"}
_LETTER_TO_KIND = {"u": LogKind.USER, "b": LogKind.BROADCAST}
_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")
_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


class CursorEntry(NamedTuple):
    """The part of an id for one partition."""

    kind: LogKind
    tag: bytes
    partition: int
    position: Position


def incarnation_tag(cluster_id: str, topic: str, topic_id: bytes = b"") -> bytes:
    """Return the 4 bytes that identify an incarnation of a topic.

    `topic_id` is Kafka's id of the incarnation (KIP-516), empty on brokers without topic ids. The
    tag is a hash, so that an id reveals nothing about the cluster. 32 bits are enough: after a
    collision, offsets and timestamps still detect a different topic.
    """
    named = f"{cluster_id}\0{topic}".encode() + (b"\0" + topic_id if topic_id else b"")
    return hashlib.blake2b(named, digest_size=4).digest()


def encode_entry(kind: LogKind, tag: bytes, partition: int, position: Position) -> bytes:
    """Return the entry of one partition: 29 characters."""
    if isinstance(position, OffsetPosition):
        offset, moment = position.offset, position.timestamp << 1 | position.seen
    else:
        offset, moment = _BY_TIME, position.timestamp << 1
    packed = _LAYOUT.pack(
        tag, partition >> 8, partition & 0xFF, offset, moment >> 32, moment & 0xFFFFFFFF
    )
    return _KIND_TO_LETTER[kind] + b2a_base64(packed, newline=False).translate(_TO_URL)


def encode_entry_after(
    kind: LogKind, tag: bytes, partition: int, offset: int, timestamp: int
) -> bytes:
    """Return the entry of the position after a record.

    `timestamp` (ms) is treated as absent if it does not fit 47 bits. Equals `encode_entry` of
    `OffsetPosition.after`, without building a position: this runs for each event sent.
    """
    moment = timestamp << 1 | 1 if 0 <= timestamp < TIMESTAMP_LIMIT else 0
    packed = _LAYOUT.pack(
        tag, partition >> 8, partition & 0xFF, offset + 1, moment >> 32, moment & 0xFFFFFFFF
    )
    return _KIND_TO_LETTER[kind] + b2a_base64(packed, newline=False).translate(_TO_URL)


def encode(entries: list[CursorEntry]) -> bytes:
    """Return the id of a cursor: one entry for each partition, in this order."""
    assert 0 < len(entries) <= MAX_ENTRIES, f"1 to {MAX_ENTRIES} entries, not {len(entries)}"
    return VERSION + b"".join([encode_entry(*entry) for entry in entries])


def parse(text: str) -> list[CursorEntry]:
    """Return the entries of an id, in order.

    Raises `EventIdError` for every text that `encode` does not produce.
    """
    count, rest = divmod(len(text) - 1, _ENTRY_LENGTH)
    if len(text) > MAX_LENGTH or rest or not 0 < count <= MAX_ENTRIES:
        raise EventIdError("an event id has 30, 59 or 88 characters")
    if text[0] != "1":
        raise EventIdError("an event id begins with its version, 1")
    entries = [_parse_entry(text[1 + i * _ENTRY_LENGTH :][:_ENTRY_LENGTH]) for i in range(count)]
    if len({(entry.kind, entry.partition) for entry in entries}) != count:
        raise EventIdError("an event id has one entry for each partition")
    return entries


def _parse_entry(text: str) -> CursorEntry:
    kind = _LETTER_TO_KIND.get(text[0])
    if kind is None:
        raise EventIdError("each entry of an event id begins with u or b")
    if not _ALPHABET.issuperset(text[1:]):
        raise EventIdError("an event id is written in base64url")
    packed = a2b_base64(text[1:].encode().translate(_FROM_URL))
    tag, high, low, offset, upper, lower = _LAYOUT.unpack(packed)
    moment = upper << 32 | lower
    timestamp, seen = moment >> 1, bool(moment & 1)
    position: Position
    if offset == _BY_TIME:
        if seen:
            raise EventIdError("a position by time cannot have a previous record")
        position = TimePosition(timestamp)
    elif offset >= 1 << 63:
        raise EventIdError("an offset has 63 bits")
    else:
        position = OffsetPosition(offset, timestamp, seen)
    return CursorEntry(kind, tag, high << 8 | low, position)
