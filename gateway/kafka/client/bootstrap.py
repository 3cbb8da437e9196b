"""Requests for metadata: from a connection, or from a bootstrap server."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaConnectionError, UnsupportedVersionError

from gateway.kafka.client import wire
from gateway.kafka.client.open_connection import open_connection
from gateway.kafka.client.requests import (
    METADATA_LEAST,
    METADATA_MOST,
    NO_ID,
    Metadata,
    TopicMetadata,
    metadata_request,
    read_metadata,
)
from gateway.kafka.client.shared_connection import REQUEST_SECONDS, decoded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.kafka.client.connection import Connection


async def bootstrapped(options: Mapping[str, Any], server: str, names: Sequence[str]) -> Metadata:
    """Return the metadata from a bootstrap server, over a separate connection."""
    host, _, port = server.rpartition(":")
    connection = await open_connection(options, host.strip("[]"), int(port), REQUEST_SECONDS)
    try:
        return await fetch_metadata(connection, names)
    finally:
        connection.close()


async def fetch_metadata(connection: Connection, names: Sequence[str]) -> Metadata:
    """Return the metadata of the cluster and of these topics. Raises `KafkaError`."""
    version = wire.supported(connection.versions, wire.METADATA, METADATA_MOST)
    if version is None or version < METADATA_LEAST:
        raise UnsupportedVersionError(f"{connection.peer} is older than Kafka 1.0")
    body = await connection.request(
        wire.METADATA, version, metadata_request(names, version), REQUEST_SECONDS
    )
    known = decoded(partial(read_metadata, body, version), connection)
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
