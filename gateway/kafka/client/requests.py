"""Requests of Kafka's protocol other than Fetch and Metadata, and their responses.

For each request there are an `Api`, a function that encodes the body, and one that decodes the
response; `ask` uses all three. `gateway.kafka.client.wire` explains flexible versions.
"""

from __future__ import annotations

import struct
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from aiokafka.errors import KafkaConnectionError, UnsupportedVersionError

from gateway.core.records import TopicPartition
from gateway.kafka.client import wire
from gateway.kafka.client.wire import Reader, array_head, is_flexible, string

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.kafka.client.connection import Connection

T = TypeVar("T")

REQUEST_SECONDS = 5.0
"""Timeout of a request, and of opening a connection."""


class Api(NamedTuple):
    """An API key, and the versions of the request that are implemented."""

    key: int
    least: int
    most: int


PEEK = Api(wire.FETCH, 4, 4)
"""The oldest Fetch of brokers 4.x; it returns the offsets and the error code, which suffices."""

LIST_OFFSETS = Api(wire.LIST_OFFSETS, 2, 7)
"""Version 4 adds leader epochs."""

CREATION = Api(wire.CREATE_TOPICS, 2, 4)
"""Version 2 is the oldest of brokers 4.x."""

CONFIGS = Api(wire.DESCRIBE_CONFIGS, 1, 1)
"""The oldest DescribeConfigs of brokers 4.x."""

PEEK_WAIT_MS = 500
"""Maximum wait of a peek; with 0 the embedded broker omits the partition."""

TOPIC_RESOURCE = 2

UNKNOWN_EPOCH = -1
"""The leader epoch of brokers without leader epochs."""

READ_COMMITTED = 1


class ListedOffset(NamedTuple):
    """The offset for a timestamp, and its record's timestamp (ms); -1: no record.

    `epoch` is the leader epoch of that record, or the last one in the log for its end.
    """

    offset: int
    timestamp: int
    epoch: int = UNKNOWN_EPOCH


class Peek(NamedTuple):
    """The answer to a fetch of one log, without its records."""

    error: int
    end: int
    """The high watermark: offset after the last replicated record, committed or not."""
    stable: int
    """The last stable offset: no open transaction before it."""


async def ask(
    connection: Connection,
    api: Api,
    encode: Callable[[int], bytes],
    read: Callable[[bytes, int], T],
    timeout: float = REQUEST_SECONDS,
) -> T:
    """Return the decoded answer to a request, in the newest version that the broker supports.

    `encode` and `read` get the version. Raises `KafkaError`; an answer that cannot be read closes
    the connection.
    """
    version = wire.supported(connection.versions, api.key, api.most)
    if version is None or version < api.least:
        raise UnsupportedVersionError(f"{connection.peer} is older than Kafka 1.0")
    answer = await connection.request(api.key, version, encode(version), timeout)
    try:
        return read(answer, version)
    except wire.MALFORMED as error:
        connection.close()
        raise KafkaConnectionError(
            f"{connection.peer} sent a response that cannot be read"
        ) from error


def list_offsets_request(wanted: Mapping[TopicPartition, tuple[int, int]], version: int) -> bytes:
    """Return the request for the offset at a timestamp in each log.

    `wanted` maps each log to the known leader epoch and the timestamp: ms, -1 for the last stable
    offset, -2 for the start.
    """
    flexible = is_flexible(wire.LIST_OFFSETS, version)
    layout = struct.Struct(">iiq" if version >= 4 else ">iq")
    tags = wire.NO_TAGS if flexible else b""
    topics = by_topic(wanted)
    parts = [struct.pack(">ib", -1, READ_COMMITTED), array_head(len(topics), flexible)]
    for topic, logs in topics.items():
        parts += [string(topic, flexible), array_head(len(logs), flexible)]
        for log in logs:
            epoch, timestamp = wanted[log]
            values = (epoch, timestamp) if version >= 4 else (timestamp,)
            parts += [layout.pack(log.partition, *values), tags]
        parts.append(tags)
    return b"".join([*parts, tags])


def read_list_offsets(body: bytes, version: int) -> dict[TopicPartition, ListedOffset | int]:
    """Return the offset of each log, or an error code.

    Without a record at or after the timestamp, brokers return offset -1 and timestamp -1; the
    embedded broker returns offset 0 and timestamp -1.
    """
    reader = Reader(body, is_flexible(wire.LIST_OFFSETS, version))
    layout = struct.Struct(">ihqqi" if version >= 4 else ">ihqq")
    reader.int32()  # throttle_time_ms
    found: dict[TopicPartition, ListedOffset | int] = {}
    for _ in range(reader.count()):
        topic = reader.string() or ""
        for _ in range(reader.count()):
            partition, error, *listed = reader.fields(layout)
            reader.tags()
            timestamp, offset, epoch = listed if version >= 4 else (*listed, UNKNOWN_EPOCH)
            found[TopicPartition(topic, partition)] = error or ListedOffset(
                offset, timestamp, epoch
            )
        reader.tags()
    return found


def peek_request(log: TopicPartition, offset: int, _version: int) -> bytes:
    """Return the Fetch request for a single batch."""
    layout = struct.Struct(">iiiibi")  # replica, max wait, min bytes, max bytes, isolation, topics
    return b"".join(
        [
            layout.pack(-1, PEEK_WAIT_MS, 1, 1, READ_COMMITTED, 1),
            string(log.topic, flexible=False),
            struct.pack(">iiqi", 1, log.partition, offset, 1),
        ]
    )


def read_peek(body: bytes, _version: int) -> Peek:
    """Return the answer of the only log in a response to `peek_request`."""
    reader = Reader(body, flexible=False)
    reader.int32()  # throttle_time_ms
    reader.count()
    reader.string()
    reader.count()
    _, error, end, stable = reader.fields(struct.Struct(">ihqq"))
    return Peek(error, end, stable)


def configs_request(topics: Sequence[str], keys: Sequence[str], _version: int) -> bytes:
    """Return the DescribeConfigs request for these keys of each topic."""
    parts = [array_head(len(topics), flexible=False)]
    wanted = array_head(len(keys), flexible=False)
    wanted += b"".join(string(key, flexible=False) for key in keys)
    for topic in topics:
        parts += [struct.pack(">b", TOPIC_RESOURCE), string(topic, flexible=False), wanted]
    return b"".join([*parts, b"\x00"])  # include_synonyms


def read_configs(body: bytes, _version: int) -> dict[str, dict[str, str]]:
    """Return the values of each topic; empty if ACLs hide the topic from this client."""
    reader = Reader(body, flexible=False)
    reader.int32()  # throttle_time_ms
    found: dict[str, dict[str, str]] = {}
    for _ in range(reader.count()):
        reader.int16()  # error_code
        reader.string()  # error_message
        reader.int8()  # resource_type
        values = found.setdefault(reader.string() or "", {})
        for _ in range(reader.count()):
            key, value = reader.string() or "", reader.string()
            reader.raw(3)  # read_only, config_source, is_sensitive
            for _ in range(reader.count()):  # synonyms
                reader.string()
                reader.string()
                reader.int8()
            if value is not None:
                values[key] = value
    return found


def creation_request(
    topics: Mapping[str, tuple[int, Mapping[str, str]]],
    replicas: int,
    _version: int,
    *,
    timeout_ms: int,
) -> bytes:
    """Return the CreateTopics request: partitions and configuration of each topic.

    `timeout_ms` bounds the wait of the broker.
    """
    parts = [array_head(len(topics), flexible=False)]
    for name, (partitions, configs) in topics.items():
        parts += [
            string(name, flexible=False),
            struct.pack(">ihi", partitions, replicas, 0),  # 0: assignments
            array_head(len(configs), flexible=False),
            *(string(text, flexible=False) for config in configs.items() for text in config),
        ]
    return b"".join([*parts, struct.pack(">ib", timeout_ms, 0)])  # validate_only


def read_creation(body: bytes, _version: int) -> dict[str, tuple[int, str]]:
    """Return the error code and the message, or an empty one, for each topic."""
    reader = Reader(body, flexible=False)
    reader.int32()  # throttle_time_ms
    return {
        reader.string() or "": (reader.int16(), reader.string() or "")
        for _ in range(reader.count())
    }


def by_topic(logs: Mapping[TopicPartition, object]) -> dict[str, list[TopicPartition]]:
    """Return the sorted logs of each topic."""
    return {topic: list(found) for topic, found in groupby(sorted(logs), lambda log: log.topic)}
