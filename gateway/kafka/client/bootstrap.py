"""Requests for metadata: from a connection, or from a bootstrap server."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaConnectionError

from gateway.kafka.client.open_connection import open_connection
from gateway.kafka.client.requests import (
    METADATA,
    NO_ID,
    REQUEST_SECONDS,
    Metadata,
    TopicMetadata,
    ask,
    metadata_request,
    read_metadata,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.kafka.client.connection import Connection


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
