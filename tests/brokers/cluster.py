"""Three nodes of Apache Kafka that can be killed, frozen and restarted one by one.

Every topic has a replica on each node, and two must have a record before a write with `acks=all` is
acknowledged: one node may fail at any time without loss of an acknowledged record. Failures that
Kafka detects after tens of seconds by default are detected after three.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple, Self

from aiokafka.errors import KafkaError

from tests.brokers.kafka import KafkaNode, fetch_jars, new_cluster_id
from tests.brokers.metadata import admin_client
from tests.child import free_port
from tests.eventually import eventually

NODES = (1, 2, 3)
HEAP_MB = 384

PROPERTIES = {
    "default.replication.factor": 3,
    "min.insync.replicas": 2,
    "broker.session.timeout.ms": 3000,  # a silent node loses its partitions
    "broker.heartbeat.interval.ms": 500,
    "replica.lag.time.max.ms": 2000,  # a slow replica leaves the ISR
    "controller.quorum.fetch.timeout.ms": 1500,  # a silent controller is replaced
    "controller.quorum.election.timeout.ms": 500,
    "controller.quorum.request.timeout.ms": 1000,
    "replica.selector.class": "org.apache.kafka.common.replica.RackAwareReplicaSelector",
}

ANSWER_SECONDS = 2.0


def rack(node: int) -> str:
    """Return the rack of a node; each has its own."""
    return f"rack-{node}"


class Copies(NamedTuple):
    """Leader and replicas of a partition."""

    number: int
    leader: int
    in_step: set[int]


class Cluster:
    """Three nodes, running while the `async with` block runs."""

    def __init__(self, folder: Path) -> None:
        ports = {node: free_port() for node in NODES}
        voters = {node: free_port() for node in NODES}
        cluster_id = new_cluster_id()
        self.nodes = {
            node: KafkaNode(
                folder / str(node),
                node_id=node,
                port=ports[node],
                voters=voters,
                cluster_id=cluster_id,
                properties={**PROPERTIES, "broker.rack": rack(node)},
                heap_mb=HEAP_MB,
            )
            for node in NODES
        }

    @property
    def bootstrap(self) -> str:
        """All nodes, separated by commas."""
        return ",".join(node.bootstrap for node in self.nodes.values())

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(fetch_jars)  # once, not three times concurrently
        try:
            await self.start(*NODES)
        except BaseException:
            self._kill_all()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._kill_all()

    async def start(self, *nodes: int) -> None:
        """Start ended nodes together: one alone does not answer without a majority."""
        async with asyncio.TaskGroup() as group:
            for node in nodes:
                group.create_task(self.nodes[node].start())

    def kill(self, *nodes: int) -> None:
        """Kill nodes (SIGKILL)."""
        for node in nodes:
            self.nodes[node].kill()

    def ended(self) -> list[int]:
        """Return the nodes that are not running."""
        return [number for number, node in self.nodes.items() if not node.is_running]

    def freeze(self, *nodes: int) -> None:
        """Freeze nodes (SIGSTOP); their connections stay open."""
        for node in nodes:
            self.nodes[node].freeze()

    def thaw(self, *nodes: int) -> None:
        """Continue frozen nodes."""
        for node in nodes:
            self.nodes[node].thaw()

    async def restart(self, node: int) -> None:
        """Restart a node in an orderly way."""
        await asyncio.to_thread(self.nodes[node].end)
        await self.start(node)

    async def leader_of(self, topic: str, partition: int) -> int:
        """Wait for a leader of a partition and return it."""
        leader = -1

        async def led() -> bool:
            nonlocal leader
            leader = next(
                (p.leader for p in await self._copies(topic) if p.number == partition), -1
            )
            return leader >= 0

        await eventually(f"{topic}-{partition} has a leader", led)
        return leader

    async def wait_until_led_by(self, node: int, topic: str, partition: int) -> None:
        """Return when this node leads the partition."""

        async def led() -> bool:
            return any(
                copies.number == partition and copies.leader == node
                for copies in await self._copies(topic)
            )

        await eventually(f"node {node} leads {topic}-{partition}", led)

    async def wait_until_in_step(self, topic: str, *nodes: int) -> None:
        """Return when the ISR of each partition is exactly these nodes."""

        async def in_step() -> bool:
            copies = await self._copies(topic)
            return bool(copies) and all(copy.in_step == set(nodes) for copy in copies)

        await eventually(f"nodes {nodes} have {topic}", in_step)

    async def _copies(self, topic: str) -> list[Copies]:
        """Return a node's view of the partitions; empty if the node is unavailable.

        The admin client asks any node, and does not ask another where that one is silent.
        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS), admin_client(self.bootstrap) as admin:
                (described,) = await admin.describe_topics([topic])
        except (KafkaError, TimeoutError):
            return []
        return [
            Copies(each["partition"], each["leader"], set(each["isr"]))
            for each in described["partitions"]
        ]

    def _kill_all(self) -> None:
        self.thaw(*NODES)
        self.kill(*NODES)
