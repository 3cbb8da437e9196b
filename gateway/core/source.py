"""Sources: the topics that streams read, their audiences, and the form of their keys and records.

A deployment has one source for each topic. Its kind (`LogKind`) is the audience of the events:

    kind       | a record's key           | streams that receive the event
    -----------+--------------------------+-----------------------------------------
    user       | names a user             | the streams of that user
    group      | names a group            | the streams whose token lists that group
    broadcast  | is ignored               | all streams

A key template states how the key holds the name, and a mapping how a record becomes an event.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from gateway.core.records import LogKind

if TYPE_CHECKING:
    from gateway.core.mapping import RecordMapping

DEFAULT_PARTITIONS = 12
"""Partitions of a created topic: enough for several workers, few enough for one machine."""

_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


class ValueFormat(StrEnum):
    """The serialisation of a source's values, written with a Schema Registry."""

    AVRO = "avro"
    PROTOBUF = "protobuf"
    JSON_SCHEMA = "json-schema"


class KeyTemplate(NamedTuple):
    """The form of a record key: the bytes around the name of a user or group.

    Two names never have the same key, so a key selects the events of one user or group only.
    """

    prefix: bytes = b""
    suffix: bytes = b""

    @classmethod
    def parse(cls, text: str, placeholder: str) -> KeyTemplate:
        """Return the template in `text`, which holds `placeholder` ("{user}") exactly once.

        All other text is literal, including braces. Raises `ValueError` with cause and remedy.
        """
        prefix, found, suffix = text.partition(placeholder)
        if not found:
            raise ValueError(f"has no {placeholder}; write it where the key holds the name")
        if placeholder in suffix:
            raise ValueError(f"has {placeholder} twice; write it once")
        return cls(prefix.encode(), suffix.encode())

    def key(self, name: bytes) -> bytes:
        """Return the record key of a user or group."""
        return self.prefix + name + self.suffix

    def name(self, key: bytes) -> bytes | None:
        """Return the user or group that a record key names; None if it names none."""
        begin, end = len(self.prefix), len(key) - len(self.suffix)
        if begin >= end or not key.startswith(self.prefix) or not key.endswith(self.suffix):
            return None
        return key[begin:end]


class Source(NamedTuple):
    """One topic that streams read."""

    topic: str
    kind: LogKind
    key: KeyTemplate = KeyTemplate()
    groups: str = ""
    """The claim that lists a reader's groups, for the kind `group`; a dotted path is nested."""
    mapping: RecordMapping | None = None
    """How a record becomes an event; None: the formats of `gateway.core.event`."""
    partitions: int = DEFAULT_PARTITIONS
    """Partitions of the topic if the gateway creates it."""
    format: ValueFormat | None = None
    """The serialisation of values that a Schema Registry describes; None: plain values."""

    @property
    def form(self) -> str:
        """The form of its keys as it is written in the configuration, in quotes."""
        prefix, suffix = (part.decode() for part in self.key)
        return f"`{prefix}{{{self.kind}}}{suffix}`"

    @property
    def mark(self) -> bytes:
        """The name mark: 14 bits of a hash of the topic name, for event ids.

        Returns 2 bytes: a character of base64url, then any byte. Hashes at each call.
        """
        return name_mark(self.topic)


class Topic(NamedTuple):
    """A topic as a worker knows it.

    `tag` identifies its incarnation: cursors of another cluster or topic have another tag.
    """

    name: str
    kind: LogKind
    tag: bytes
    partitions: int
    former: tuple[int, ...] = ()
    """Former partition counts, as far as this worker has seen the topic grow."""
    mark: bytes = b""
    """The mark of the name, for event ids of version 2."""
    key: KeyTemplate | None = None
    """The form of its record keys; None: the key is the name of the user or group."""
    source: Source | None = None
    """Its source, by which records are decoded; None in tests: user ids are the keys."""


def name_mark(topic: str) -> bytes:
    """Return the mark of a topic name: a character of base64url (6 bits), then a byte."""
    first, second = hashlib.blake2b(topic.encode(), digest_size=2).digest()
    return bytes([_LETTERS[first >> 2], second])


def simple_sources(topic: str, broadcast_topic: str) -> tuple[Source, ...]:
    """Return the sources of a deployment with a user topic and, unless empty, a broadcast topic."""
    sources = [Source(topic, LogKind.USER)]
    if broadcast_topic:
        sources.append(Source(broadcast_topic, LogKind.BROADCAST, partitions=1))
    return tuple(sources)
