"""Three nodes of Apache Kafka that can be killed, frozen and restarted one by one.

Every topic has a copy on each node, and two must have a record before a writer with `acks=all` is
told so: one node may fail at any time and nothing that was acknowledged is lost. What Kafka takes
tens of seconds for by default, to keep quiet on a bad network, takes three here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, Self

from aiokafka.errors import KafkaError

from tests.brokers.kafka import KafkaNode, fetch_jars, new_cluster_id
from tests.brokers.metadata import admin_client
from tests.child import free_port
from tests.eventually import eventually

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

NODES = (1, 2, 3)
HEAP_MB = 384

PROPERTIES = {
    "default.replication.factor": 3,
    "min.insync.replicas": 2,
    "broker.session.timeout.ms": 3000,  # a silent node loses its partitions
    "broker.heartbeat.interval.ms": 500,
    "replica.lag.time.max.ms": 2000,  # a slow copy counts no more
    "controller.quorum.fetch.timeout.ms": 1500,  # a silent controller is voted out
    "controller.quorum.election.timeout.ms": 500,
    "controller.quorum.request.timeout.ms": 1000,
    "replica.selector.class": "org.apache.kafka.common.replica.RackAwareReplicaSelector",
}

LEADER_SECONDS = 30.0
ANSWER_SECONDS = 2.0


def rack(node: int) -> str:
    """Return the rack of a node; each has its own."""
    return f"rack-{node}"


class Copies(NamedTuple):
    """Who has a partition."""

    number: int
    leader: int
    in_step: set[int]


class Cluster:
    """Three nodes, started together, that end with the `async with` block, however it ends."""

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
        await asyncio.to_thread(fetch_jars)  # once, and not three times at once
        try:
            await self.start(*NODES)
        except BaseException:
            self._kill_all()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._kill_all()

    async def start(self, *nodes: int) -> None:
        """Start nodes that have ended, together: one alone answers nothing without a majority."""
        async with asyncio.TaskGroup() as group:
            for node in nodes:
                group.create_task(self.nodes[node].start())

    def kill(self, *nodes: int) -> None:
        """End nodes as a power cut would."""
        for node in nodes:
            self.nodes[node].kill()

    def ended(self) -> list[int]:
        """Return the nodes that do not run."""
        return [number for number, node in self.nodes.items() if not node.is_running]

    def freeze(self, *nodes: int) -> None:
        """Let nodes do nothing, with all their connections open."""
        for node in nodes:
            self.nodes[node].freeze()

    def thaw(self, *nodes: int) -> None:
        """Let frozen nodes go on."""
        for node in nodes:
            self.nodes[node].thaw()

    async def restart(self, node: int) -> None:
        """End a node as an operator does, and start it again."""
        await asyncio.to_thread(self.nodes[node].end)
        await self.start(node)

    async def leader_of(self, topic: str, partition: int) -> int:
        """Return the node that leads a partition, as soon as there is one."""
        leader = -1

        async def led() -> bool:
            nonlocal leader
            leader = next(
                (p.leader for p in await self._copies(topic) if p.number == partition), -1
            )
            return leader >= 0

        await eventually(f"{topic}-{partition} has a leader", led, LEADER_SECONDS)
        return leader

    async def wait_until_led_by(self, node: int, topic: str, partition: int) -> None:
        """Return when that node leads the partition."""

        async def led() -> bool:
            return any(
                copies.number == partition and copies.leader == node
                for copies in await self._copies(topic)
            )

        await eventually(f"node {node} leads {topic}-{partition}", led, LEADER_SECONDS)

    async def wait_until_in_step(self, topic: str, *nodes: int) -> None:
        """Return when exactly these nodes have an up-to-date copy of each partition."""

        async def in_step() -> bool:
            copies = await self._copies(topic)
            return bool(copies) and all(copy.in_step == set(nodes) for copy in copies)

        await eventually(f"nodes {nodes} have {topic}", in_step, LEADER_SECONDS)

    async def _copies(self, topic: str) -> list[Copies]:
        """Return what a node says of the partitions; nothing where the one that was asked is away.

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
