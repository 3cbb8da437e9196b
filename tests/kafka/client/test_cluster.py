from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaConnectionError, KafkaError, LeaderNotAvailableError

from gateway import supervise
from gateway.core.records import TopicPartition
from gateway.kafka import offsets as offsets_module
from gateway.kafka.client import cluster as cluster_module
from gateway.kafka.client import metadata as metadata_module
from gateway.kafka.client import wire
from gateway.kafka.client.cluster import SOON_SECONDS, UNCHANGED_SECONDS, ClusterClient
from gateway.kafka.client.metadata import Leader
from gateway.kafka.client.requests import ListedOffset
from gateway.kafka.offsets import END, START, Offsets
from gateway.supervise import Part
from tests.brokers import metadata
from tests.brokers.cluster import Cluster
from tests.brokers.scripted import Request, ScriptedServer, describe_cluster
from tests.conftest import Broker
from tests.eventually import DEADLINE, eventually


@asynccontextmanager
async def client(*servers: str, **options: Any) -> AsyncIterator[ClusterClient]:
    started = ClusterClient({"bootstrap_servers": list(servers), **options})
    try:
        await started.start()
        yield started
    finally:
        await started.stop()


class SeenFailures:
    def __init__(self) -> None:
        self.seen: list[tuple[Part, str]] = []

    def failed(self, part: Part, error: BaseException) -> None:
        self.seen.append((part, type(error).__name__))


def fail(*_: object) -> None:
    raise RuntimeError("injected")


@pytest.fixture
async def topic(broker: Broker) -> str:
    name = f"cluster-{uuid.uuid4().hex[:8]}"
    await metadata.create_topics(broker.bootstrap, [NewTopic(name, 3, 1)])
    return name


async def test_describe_returns_existing_topics_and_creates_none(
    broker: Broker, topic: str
) -> None:
    async with client(broker.bootstrap) as cluster:
        for _ in range(2):
            described = await cluster.describe([topic, "missing"])
            assert described.partitions == {topic: 3}
            assert described.cluster_id == cluster.cluster_id
        assert len(described.ids[topic]) == 16
        assert cluster.topic_id(topic) == described.ids[topic]
        assert cluster.topic_id("missing") is None
        leaders = {cluster.leader(TopicPartition(topic, partition)) for partition in range(3)}
        assert None not in leaders
        assert cluster.leader(TopicPartition(topic, 3)) is None


async def test_offsets_by_time_and_at_both_ends(
    broker: Broker, topic: str, producer: AIOKafkaProducer
) -> None:
    for number in range(4):
        await producer.send_and_wait(
            topic, b"value", partition=1, timestamp_ms=1_700_000_000_000 + 1000 * number
        )
    log, empty = TopicPartition(topic, 1), TopicPartition(topic, 0)
    async with client(broker.bootstrap) as cluster:
        questions = [
            Offsets(cluster).lookup(log, START),
            Offsets(cluster).lookup(log, 1_700_000_001_500),
            Offsets(cluster).lookup(log, 1_700_000_000_000),
            Offsets(cluster).lookup(log, 1_800_000_000_000),
            Offsets(cluster).lookup(log, END),
            Offsets(cluster).lookup(empty, END),
            Offsets(cluster).lookup(empty, 1_700_000_000_000),
        ]
        start, second, first, never, end, empty_end, empty_never = await asyncio.gather(*questions)
        assert (start.offset, end.offset, empty_end.offset) == (0, 4, 0)
        if broker.kind == "kafka":  # the embedded broker stores its own time
            assert second == ListedOffset(2, 1_700_000_002_000, 0)
            assert first == ListedOffset(0, 1_700_000_000_000, 0)
            assert end.epoch == 0
        assert never.timestamp == empty_never.timestamp == -1
        with pytest.raises(LeaderNotAvailableError):
            await Offsets(cluster).lookup(TopicPartition("missing", 0), END)


async def test_connect_returns_separate_connections(broker: Broker, topic: str) -> None:
    async with client(broker.bootstrap) as cluster:
        await cluster.describe([topic])
        leader = cluster.leader(TopicPartition(topic, 0))
        assert leader is not None
        one, other = [await cluster.connect(leader.node_id) for _ in range(2)]
        one.close()
        assert await other.request(wire.API_VERSIONS, 0, b"", 5)
        other.close()


async def test_a_start_asks_for_the_metadata_once() -> None:
    async with ScriptedServer() as server:
        server.answer = lambda request: describe_cluster(request, server.port)
        async with client(server.address) as cluster:
            assert cluster.cluster_id == "a-cluster"
            await asyncio.sleep(2 * SOON_SECONDS)
            assert server.count(wire.METADATA) == 1


async def test_leaderless_partition_causes_no_metadata_storm() -> None:
    async with ScriptedServer() as server:
        server.answer = lambda request: describe_cluster(request, server.port, {"unled": -1})
        async with client(server.address) as cluster:
            begun = asyncio.get_running_loop().time()
            while asyncio.get_running_loop().time() < begun + 3 * UNCHANGED_SECONDS:
                assert cluster.leader(TopicPartition("unled", 0)) is None
                cluster.request_refresh()
                await asyncio.sleep(0.005)
            # 0.2 s, 0.4 s, 0.8 s, and then one a second.
            assert server.count(wire.METADATA) <= 8


async def test_listener_is_called_for_a_new_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    leaders = {"topic": -1}
    async with ScriptedServer() as server:
        server.answer = lambda request: describe_cluster(request, server.port, leaders)
        async with client(server.address) as cluster:
            changed = asyncio.Event()
            cluster.on_change(changed.set)
            assert cluster.leader(TopicPartition("topic", 0)) is None
            leaders["topic"] = 1
            async with asyncio.timeout(DEADLINE):
                while cluster.leader(TopicPartition("topic", 0)) is None:
                    await changed.wait()
                    changed.clear()
            assert cluster.leader(TopicPartition("topic", 0)) == Leader(1, 7)


async def test_lookups_are_batched_and_pipelined() -> None:
    logs = {TopicPartition(f"topic-{number}", 0): number for number in range(5)}
    offsets: list[Request] = []
    async with ScriptedServer() as server:

        def answer(request: Request) -> bytes | None:
            if request.api_key == wire.METADATA:
                return describe_cluster(request, server.port, {log.topic: 1 for log in logs})
            offsets.append(request)
            return None

        server.answer = answer
        async with client(server.address) as cluster:
            await cluster.describe([log.topic for log in logs])
            lookups = Offsets(cluster)
            questions = [lookups.lookup(log, time) for log in logs for time in range(3)]
            await eventually("three requests have come", lambda: len(offsets) == 3)
            assert not any(question.done() for question in questions)
        assert all(question.done() for question in questions)


async def test_unexpected_exception_fails_lookups_and_does_not_end_the_refresh(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervise, "FIRST_SECONDS", 0.05)
    failures = SeenFailures()
    leaders = {"topic": 1}
    async with ScriptedServer() as server:
        server.answer = lambda request: describe_cluster(request, server.port, leaders)
        cluster = ClusterClient({"bootstrap_servers": [server.address]}, failures=failures)
        try:
            await cluster.start()
            await cluster.describe(["topic"])
            log = TopicPartition("topic", 0)
            with monkeypatch.context() as patched:
                patched.setattr(offsets_module, "list_offsets_request", fail)
                patched.setattr(cluster_module, "fetch_metadata", fail)
                for _ in range(2):
                    async with asyncio.timeout(DEADLINE):
                        with pytest.raises(RuntimeError, match="injected"):
                            await Offsets(cluster).lookup(log, END)

                async def reported() -> bool:
                    return (Part.KAFKA, "RuntimeError") in failures.seen

                cluster.request_refresh()
                await eventually("the refresh reports the exception", reported)
            leaders["topic"] = 2

            async def refreshed() -> bool:
                cluster.request_refresh()
                return cluster.leader(log) == Leader(2, 7)

            await eventually("the metadata is refreshed again", refreshed)
        finally:
            await cluster.stop()


async def test_stop_fails_pending_lookups() -> None:
    async with ScriptedServer() as server:

        def answer(request: Request) -> bytes | None:
            if request.api_key == wire.METADATA:
                return describe_cluster(request, server.port, {"topic": 1})
            return None

        server.answer = answer
        async with client(server.address) as cluster:
            await cluster.describe(["topic"])
            sent = Offsets(cluster).lookup(TopicPartition("topic", 0), END)
            await eventually("the lookup is sent", lambda: server.count(wire.LIST_OFFSETS) == 1)
            unsent = Offsets(cluster).lookup(TopicPartition("topic", 0), START)
        for lookup in (sent, unsent):
            with pytest.raises(KafkaConnectionError):
                await lookup


@pytest.mark.parametrize("silent", [1, 5])
async def test_start_does_not_wait_for_silent_bootstrap_servers(
    broker: Broker, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata_module, "REQUEST_SECONDS", 10 * DEADLINE)
    with ExitStack() as stack:
        deaf = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(silent)]
        addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in deaf]
        async with asyncio.timeout(DEADLINE), client(*addresses, broker.bootstrap) as cluster:
            assert cluster.cluster_id


async def test_bootstrap_servers_are_asked_again_when_known_brokers_are_silent() -> None:
    """KIP-899."""
    async with ScriptedServer() as first, ScriptedServer() as second:
        for server in (first, second):
            server.answer = lambda request, at=server: describe_cluster(  # type: ignore[misc]
                request, at.port, {"topic": 1}
            )
        async with client(first.address, second.address) as cluster:
            await cluster.describe(["topic"])
            first.silent = True
            async with asyncio.timeout(DEADLINE):
                await cluster.describe(["topic"])
            connection = await cluster.connect(1)
            assert connection.peer == second.address
            connection.close()


async def test_start_names_an_unreachable_bootstrap_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as place:
        address = f"127.0.0.1:{place.getsockname()[1]}"
    cluster = ClusterClient({"bootstrap_servers": [address]})
    with pytest.raises(KafkaConnectionError, match=address):
        await cluster.start()
    await cluster.stop()


async def answered(known: ClusterClient, log: TopicPartition) -> None:
    """Return when the leader of the partition answers; another one may be elected meanwhile."""
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                await Offsets(known).lookup(log, END)
                return
            except KafkaError as error:
                if not error.retriable:
                    raise
            await asyncio.sleep(0.2)


async def test_frozen_broker_delays_only_its_own_requests(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"frozen-{uuid.uuid4().hex[:8]}"
    await metadata.create_topics(cluster.bootstrap, [NewTopic(name, 6, 3)])
    logs = [TopicPartition(name, partition) for partition in range(6)]
    async with client(*cluster.bootstrap.split(",")) as known:
        await known.describe([name])
        leaders = {log: leader.node_id for log in logs if (leader := known.leader(log))}
        assert set(leaders.values()) == {1, 2, 3}
        for log in logs:
            await answered(known, log)
        cluster.freeze(2)
        try:
            with monkeypatch.context() as patched:
                patched.setattr(offsets_module, "REQUEST_SECONDS", 10 * DEADLINE)
                questions = {log: Offsets(known).lookup(log, END) for log in logs}
                async with asyncio.timeout(DEADLINE):
                    for log, question in questions.items():
                        if leaders[log] != 2:
                            assert (await question).offset == 0
            # Kafka elects other leaders within seconds.
            for log in logs:
                await answered(known, log)
            assert 2 not in [leader.node_id for leader in map(known.leader, logs) if leader]
        finally:
            for question in questions.values():
                question.cancel()
            cluster.thaw(2)
