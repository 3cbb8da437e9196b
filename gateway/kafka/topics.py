"""Topics: metadata, configuration, rights, and the creation of missing topics.

Metadata requests never create a topic; `create_missing` does, for demos and trials
(`GATEWAY_CREATE_TOPICS`).

Without the right Describe, metadata hides a topic as if it were missing; without Read, its metadata
is visible and fetches are rejected. `missing_rights` checks both.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka.errors import (
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from gateway.core.records import LogKind, TopicPartition
from gateway.errors import BrokerError
from gateway.kafka.client.cluster import ClusterClient
from gateway.kafka.client.requests import (
    CONFIGS,
    CREATION,
    ask,
    configs_request,
    creation_request,
    read_configs,
    read_creation,
)
from gateway.kafka.diagnosis import Diagnosis, explain, missing_right, tool_command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from gateway.config import Settings
    from gateway.kafka.client.metadata import Cluster

ANSWER_SECONDS = 10.0
"""Timeout of each function in this module; a reachable broker answers in milliseconds."""

MAX_REPLICAS = 3
"""Replicas of a created topic, if the cluster has as many brokers: two may fail without loss."""

_LEADER_POLL_SECONDS = 0.05

NOWHERE = 1 << 62
"""An offset beyond every log: a broker checks the ACL first, then rejects it at once."""

STATUS_SEGMENT_MS = 600_000
"""Kafka does not compact the active segment. Workers write statuses every few seconds, and old ones
are useless, so a segment of this topic is rolled after ten minutes instead of a week."""


class TopicSpec(NamedTuple):
    """The specification of a topic to create."""

    name: str
    partitions: int = 1
    compacted: bool = False
    segment_ms: int | None = None

    @property
    def configs(self) -> dict[str, str]:
        """The configuration that differs from the broker's defaults."""
        configs = {}
        if self.compacted:
            configs["cleanup.policy"] = "compact"
        if self.segment_ms is not None:
            configs["segment.ms"] = str(self.segment_ms)
        return configs


def topic_specs(settings: Settings, user_partitions: int | None = None) -> list[TopicSpec]:
    """Return the specifications of the configured topics; disabled ones are left out.

    `user_partitions` replaces the number of partitions of topics for users. A topic for all streams
    has one partition, because every stream follows it; the two topics with state are compacted, so
    that they can be read whole.
    """
    sources = [
        TopicSpec(
            source.topic,
            user_partitions
            if user_partitions is not None and source.kind is LogKind.USER
            else source.partitions,
        )
        for source in settings.event_sources
    ]
    specs = [
        *sources,
        TopicSpec(settings.revocations_topic, compacted=True),
        workers_topic(settings),
    ]
    return [spec for spec in specs if spec.name]


def workers_topic(settings: Settings) -> TopicSpec:
    """Return the topic of the worker statuses; its name is empty if it is disabled."""
    return TopicSpec(settings.workers_topic, compacted=True, segment_ms=STATUS_SEGMENT_MS)


def dead_letter_topic(settings: Settings) -> TopicSpec:
    """Return the topic of skipped records; its name is empty if it is disabled."""
    return TopicSpec(settings.dead_letter_topic)


def creation_command(spec: TopicSpec, options: Mapping[str, Any]) -> str:
    """Return the command line of Kafka's tools that creates the topic, for messages.

    `options` are those of `gateway.kafka.client.options.connection_options`.
    """
    configs = "".join(f" --config {name}={value}" for name, value in spec.configs.items())
    words = f"--create --topic {spec.name} --partitions {spec.partitions}{configs}"
    return tool_command("kafka-topics", options, words)


async def describe(
    options: dict[str, Any], names: Sequence[str], timeout: float = ANSWER_SECONDS
) -> Cluster:
    """Return the cluster's id and the metadata of the existing topics in `names`.

    `options` are those of `connection_options`. Creates nothing. Raises `BrokerError` when no
    broker answers within `timeout` seconds.
    """
    async with connected(options, timeout) as client:
        return await client.describe(names)


async def create(options: dict[str, Any], specs: Iterable[TopicSpec]) -> None:
    """Create the missing topics with a new client; see `create_missing`.

    Raises `BrokerError` also when the brokers do not answer in time.
    """
    async with connected(options) as client:
        await create_missing(client, specs)


async def create_missing(client: ClusterClient, specs: Iterable[TopicSpec]) -> None:
    """Create the missing topics, and wait until each partition has a leader.

    Existing ones are left as they are. Raises `BrokerError` when the brokers reject a topic, and
    aiokafka's `KafkaError` when they do not answer.
    """
    wanted = {spec.name: spec for spec in specs}
    existing = (await client.describe(list(wanted))).partitions
    missing = [spec for name, spec in wanted.items() if name not in existing]
    if missing:
        await _create(client, missing)
    while True:
        if _led(client, (await client.describe(list(wanted))).partitions, wanted):
            return
        await asyncio.sleep(_LEADER_POLL_SECONDS)


async def _create(client: ClusterClient, missing: list[TopicSpec]) -> None:
    replicas = min(MAX_REPLICAS, len(client.nodes))
    timeout_ms = int(ANSWER_SECONDS * 1000)
    topics = {spec.name: (spec.partitions, spec.configs) for spec in missing}
    request = partial(creation_request, topics, replicas, timeout_ms=timeout_ms)
    controller = await client.controller()
    answers = await ask(controller, CREATION, request, read_creation, ANSWER_SECONDS)
    for name, (code, message) in answers.items():
        if code not in {0, TopicAlreadyExistsError.errno}:
            raise BrokerError(f"topic {name} was not created: {message or for_code(code).__name__}")


async def retentions(client: ClusterClient, topics: Sequence[str]) -> dict[str, int]:
    """Return the retention in ms of each topic, if brokers return it; -1: unlimited."""
    found = await _configs(client, topics, "retention.ms")
    return {topic: int(value) for topic, value in found.items()}


async def compactions(client: ClusterClient, topics: Sequence[str]) -> dict[str, bool]:
    """Return whether existing topics are compacted, as far as brokers return it."""
    found = await _configs(client, topics, "cleanup.policy")
    return {topic: "compact" in value for topic, value in found.items()}


async def _configs(client: ClusterClient, topics: Sequence[str], key: str) -> dict[str, str]:
    """Return a configuration value of topics; missing if ACLs hide it from this client."""
    if client.is_embedded:
        return {}  # it would close the connection
    request = partial(configs_request, topics, [key])
    found = await client.ask_any(lambda connection: ask(connection, CONFIGS, request, read_configs))
    return {topic: values[key] for topic, values in found.items() if values}


async def missing_rights(
    client: ClusterClient, cluster: Cluster, names: Sequence[str]
) -> dict[str, Diagnosis]:
    """Return the missing ACL and the remedy for each topic that lacks one.

    `cluster` is the metadata of these topics. Kafka does not distinguish a topic without Describe
    from a missing one. Costs one request for each topic. A topic whose leaders do not answer counts
    as readable. Never raises.
    """
    if client.is_embedded:
        return {}  # no ACLs; a fetch beyond the end is not rejected at once
    listed = [name for name in names if name in cluster.partitions]
    readable = await asyncio.gather(*[_is_readable(client, name) for name in listed])
    lacking = {name for name, is_readable in zip(listed, readable, strict=True) if not is_readable}
    options = client.options
    return {
        **{
            name: missing_right("Describe", name, options)
            for name in names
            if name in cluster.denied
        },
        **{name: missing_right("Read", name, options) for name in names if name in lacking},
    }


async def _is_readable(client: ClusterClient, topic: str) -> bool:
    try:
        peek = await client.peek(TopicPartition(topic, 0), NOWHERE)
    except KafkaError:
        return True  # the leader is unreachable, which other checks report
    return bool(peek.error != TopicAuthorizationFailedError.errno)


def _led(
    client: ClusterClient, partitions: Mapping[str, int], wanted: Mapping[str, TopicSpec]
) -> bool:
    """Whether all wanted topics are listed and all their partitions have leaders.

    Right after its creation a topic may be unknown to some brokers or without leaders.
    """
    return partitions.keys() >= wanted.keys() and all(
        client.leader(TopicPartition(name, partition)) is not None
        for name in wanted
        for partition in range(partitions[name])
    )


@asynccontextmanager
async def answering(
    options: dict[str, Any], timeout: float = ANSWER_SECONDS
) -> AsyncIterator[None]:
    """Limit the block to `timeout` seconds; convert Kafka's errors to `BrokerError`."""
    try:
        async with asyncio.timeout(timeout):
            yield
    except (KafkaError, TimeoutError) as error:
        raise BrokerError(*await explain(error, options)) from error


@asynccontextmanager
async def connected(
    options: dict[str, Any], timeout: float = ANSWER_SECONDS
) -> AsyncIterator[ClusterClient]:
    """Provide a client for the block, which must end within `timeout` seconds.

    Raises `BrokerError` for Kafka's errors in the block.
    """
    client = ClusterClient(options)
    try:
        async with answering(options, timeout):
            await client.start()
            yield client
    finally:
        await client.stop()
