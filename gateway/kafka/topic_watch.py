"""Detects added partitions, and topics that were deleted and recreated.

Kafka does not notify a consumer of either: it continues with the partitions that it knows, and in a
recreated topic at the offset in the old one. The watch therefore compares the brokers' metadata
with the worker's every few seconds, and whenever an id or a fetch error indicates a change.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import structlog

from gateway import clock
from gateway.core.records import LogKind
from gateway.kafka.client.metadata import Cluster

if TYPE_CHECKING:
    from gateway.core.partition_map import PartitionMap
    from gateway.core.source import Topic
    from gateway.kafka.client.cluster import ClusterClient
    from gateway.kafka.compacted_topic import CompactedTopic
    from gateway.kafka.live_reader import LiveReader

PAUSE_SECONDS = 0.1
"""Minimum interval of metadata requests: a client can trigger them with a forged id."""

_log = structlog.stdlib.get_logger(__name__)


class Found(NamedTuple):
    """Fresh metadata, and the worker's topics that are missing in it."""

    cluster: Cluster
    missing: list[str]


class TopicWatch:
    """Updates a worker's partition map when its topics change, appear, or are recreated."""

    def __init__(
        self,
        routes: PartitionMap,
        live: LiveReader,
        client: ClusterClient,
        revocations: CompactedTopic | None,
    ) -> None:
        self._routes = routes
        self._live = live
        self._client = client
        self._revocations = revocations
        self._cluster_id = client.cluster_id
        self._former: set[bytes] = set()
        """Tags of former incarnations, which a lagging broker may still return."""
        self._verified = dict.fromkeys([topic.name for topic in routes.topics], clock.now().wall)
        """When metadata last confirmed each topic's current state: Unix ms."""
        self._refreshing = asyncio.Lock()
        self._refreshed = float("-inf")
        self._found = Found(Cluster("", {}, {}), [])

    async def refresh(self) -> Found:
        """Fetch metadata, apply it, and return it with the topics that are missing.

        Concurrent calls share the next request. Raises `KafkaError` if no broker answers.
        """
        asked = clock.now().monotonic
        async with self._refreshing:
            if self._refreshed < asked:
                await asyncio.sleep(self._refreshed + PAUSE_SECONDS - asked)
                began = clock.now()
                cluster = await self._client.describe(self.names())
                self._refreshed = began.monotonic
                self._found = Found(cluster, self._compare(cluster, began.wall))
                await self.move()
            return self._found

    async def move(self) -> None:
        """Move streams to the present partitions; yields to the event loop between steps."""
        if not self._routes.moving:
            return
        more = True
        while more:
            more = self._routes.step(clock.now())
            await asyncio.sleep(0)
        self._live.sweep()

    def names(self) -> list[str]:
        """Return the names of the topics."""
        names = [topic.name for topic in self._routes.topics]
        return names if self._revocations is None else [*names, self._revocations.topic]

    def _compare(self, cluster: Cluster, wall: int) -> list[str]:
        if cluster.cluster_id != self._cluster_id:
            self._cluster_id = cluster.cluster_id
            self._former.clear()
        missing = []
        for topic in self._routes.topics:
            partitions = cluster.partitions.get(topic.name)
            if partitions is None:
                missing.append(topic.name)
                continue
            tag = cluster.tag(topic.name)
            if tag in self._former:
                continue
            found = topic._replace(tag=tag, partitions=partitions)
            if not topic.partitions:
                self._apply("topic has appeared", found)
            elif tag != topic.tag:
                self._former.add(topic.tag)
                self._renew(found)
            elif partitions > topic.partitions and topic.kind is not LogKind.BROADCAST:
                self._apply("topic has gained partitions", found, before=topic.partitions)
            self._verified[topic.name] = wall
        if self._revocations is not None and not self._revocations.compare(cluster):
            missing.append(self._revocations.topic)
        return missing

    def _apply(self, change: str, topic: Topic, **facts: int) -> None:
        _log.info(change, topic=topic.name, **facts, partitions=topic.partitions)
        self._routes.update(topic, self._verified[topic.name], clock.now())

    def _renew(self, topic: Topic) -> None:
        _log.warning("topic was recreated; streams get a gap reset", topic=topic.name)
        self._live.stop_topic(topic.name)
        self._routes.update(topic, self._verified[topic.name], clock.now())
