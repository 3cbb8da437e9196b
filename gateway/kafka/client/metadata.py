"""Metadata of a cluster: brokers, leaders, and the id of each incarnation of a topic.

A topic that was deleted and created again has the same name and another id (KIP-516). The request
never creates a topic.
"""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError

from gateway.core.event_id import incarnation_tag
from gateway.core.source import KeyTemplate, Topic
from gateway.kafka.client import wire
from gateway.kafka.client.open_connection import open_connection
from gateway.kafka.client.requests import REQUEST_SECONDS, UNKNOWN_EPOCH, Api, ask
from gateway.kafka.client.wire import Reader, array_head, is_flexible, string

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.core.source import Source
    from gateway.kafka.client.connection import Connection

METADATA = Api(wire.METADATA, 4, 12)
"""Version 4 is Kafka 1.0; 7 adds leader epochs, 10 adds topic ids (KIP-516)."""

NO_ID = bytes(16)
"""The id of a missing topic, and of topics on brokers without topic ids."""

_UUID = struct.Struct("16s")
_PARTITION = struct.Struct(">hiii")
_PARTITION_WITHOUT_EPOCH = struct.Struct(">hii")


class Node(NamedTuple):
    """A broker's advertised address and rack."""

    host: str
    port: int
    rack: str


class Leader(NamedTuple):
    """The leader of a partition and its epoch; -1: brokers without leader epochs."""

    node_id: int
    epoch: int


class TopicMetadata(NamedTuple):
    """A topic: error code, id, and the leader of each partition."""

    error: int
    id: bytes
    leaders: Mapping[int, Leader | None]


class Metadata(NamedTuple):
    """The cluster and the requested topics."""

    cluster_id: str
    nodes: Mapping[int, Node]
    topics: Mapping[str, TopicMetadata]
    controller: int = -1
    """The broker that creates topics."""


class Cluster(NamedTuple):
    """The cluster's id and the requested topics that exist."""

    cluster_id: str
    partitions: Mapping[str, int]
    ids: Mapping[str, bytes]
    """16 bytes for each topic; missing for brokers without topic ids (before Kafka 2.8)."""
    denied: frozenset[str] = frozenset()
    """Topics that the ACLs hide from this client; they may also not exist."""

    @classmethod
    def of(cls, known: Metadata) -> Cluster:
        """Return the cluster and the topics of a metadata response."""
        topics = known.topics.items()
        return cls(
            known.cluster_id,
            {name: len(topic.leaders) for name, topic in topics if topic.leaders},
            {name: topic.id for name, topic in topics if topic.id != NO_ID},
            frozenset(
                name for name, topic in topics if topic.error == TopicAuthorizationFailedError.errno
            ),
        )

    def tag(self, topic: str) -> bytes:
        """Return the tag of a topic's current incarnation, as used in event ids."""
        return incarnation_tag(self.cluster_id, topic, self.ids.get(topic, b""))

    def topic(self, source: Source) -> Topic:
        """Return the topic of a source, without partitions if it is missing."""
        name = source.topic
        return Topic(
            name,
            source.kind,
            self.tag(name),
            self.partitions.get(name, 0),
            mark=source.mark,
            key=None if source.key == KeyTemplate() else source.key,
            source=source,
        )


async def bootstrapped(options: Mapping[str, Any], server: str, names: Sequence[str]) -> Metadata:
    """Return the metadata from a bootstrap server, over a separate connection."""
    host, _, port = server.rpartition(":")
    connection = await open_connection(options, host.strip("[]"), int(port), REQUEST_SECONDS)
    try:
        return await fetch_metadata(names, connection)
    finally:
        connection.close()


async def fetch_metadata(names: Sequence[str], connection: Connection) -> Metadata:
    """Return the metadata of the cluster and of these topics. Raises `KafkaError`."""
    known = await ask(connection, METADATA, partial(metadata_request, names), read_metadata)
    if not known.nodes:
        raise KafkaConnectionError(f"{connection.peer} names no broker")
    return known


def newest(before: TopicMetadata | None, topic: TopicMetadata) -> TopicMetadata:
    """Return the topic with the newest leaders: a lagging broker may name older ones."""
    if before is None or before.id != topic.id or topic.id == NO_ID:
        return topic
    leaders = dict(topic.leaders)
    for partition, leader in topic.leaders.items():
        known = before.leaders.get(partition)
        if leader and known and leader.epoch < known.epoch:
            leaders[partition] = known
    return topic._replace(leaders=leaders)


def metadata_request(names: Sequence[str], version: int) -> bytes:
    """Return the request for these topics; it does not create missing topics."""
    flexible = is_flexible(wire.METADATA, version)
    id_bytes = NO_ID if version >= 10 else b""
    tags = wire.NO_TAGS if flexible else b""
    topics = b"".join(id_bytes + string(name, flexible) + tags for name in names)
    flags = b"\x00"  # allow_auto_topic_creation
    if 8 <= version <= 10:
        flags += b"\x00"  # include_cluster_authorized_operations
    if version >= 8:
        flags += b"\x00"  # include_topic_authorized_operations
    return array_head(len(names), flexible) + topics + flags + tags


def read_metadata(body: bytes, version: int) -> Metadata:
    """Return the metadata of a response."""
    reader = Reader(body, is_flexible(wire.METADATA, version))
    reader.int32()  # throttle_time_ms
    nodes = {}
    for _ in range(reader.count()):
        node_id, host, port = reader.int32(), reader.string(), reader.int32()
        nodes[node_id] = Node(host or "", port, reader.string() or "")
        reader.tags()
    cluster_id = reader.string() or ""
    controller = reader.int32()
    topics = dict(_read_topic(reader, version) for _ in range(reader.count()))
    return Metadata(cluster_id, nodes, topics, controller)


def _read_topic(reader: Reader, version: int) -> tuple[str, TopicMetadata]:
    error = reader.int16()
    name = reader.string() or ""
    topic_id = reader.raw(_UUID.size) if version >= 10 else NO_ID
    reader.int8()  # is_internal
    leaders: dict[int, Leader | None] = {}
    for _ in range(reader.count()):
        if version >= 7:
            _, partition, leader, epoch = reader.fields(_PARTITION)
        else:
            (_, partition, leader), epoch = reader.fields(_PARTITION_WITHOUT_EPOCH), UNKNOWN_EPOCH
        for _ in range(3 if version >= 5 else 2):  # replicas, in sync, offline
            reader.skip_int32s()
        reader.tags()
        leaders[partition] = Leader(leader, epoch) if leader >= 0 else None
    if version >= 8:
        reader.int32()  # topic_authorized_operations
    reader.tags()
    return name, TopicMetadata(error, topic_id, leaders)
