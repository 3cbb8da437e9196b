"""The producer of the publisher, of revocations and of worker statuses.

The producer connects at the first use, and again after a failure, so that a service may start
before Kafka does. Writes are idempotent if the broker supports it, and never create a topic.

`gateway.kafka.batch_writer` documents the handling of events whose batch is rejected or lost.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Literal, Self

from aiokafka.errors import (
    InvalidTimestampError,
    KafkaConnectionError,
    KafkaError,
    LeaderNotAvailableError,
    MessageSizeTooLargeError,
    ProducerClosed,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from gateway.core.partitioner import partitioner as partitioner_named
from gateway.core.records import TopicPartition
from gateway.errors import PublishError
from gateway.kafka.batch_writer import Batching, BatchWriter, InDoubt
from gateway.kafka.client.cluster import ClusterClient
from gateway.kafka.diagnosis import missing_right
from gateway.kafka.topics import TopicSpec, creation_command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.kafka.envelope import Message

RETRY_SECONDS = 1.0
"""Minimum interval of connection attempts: a busy service does not reconnect for each event."""

REFRESH_SECONDS = 60.0
"""Interval of refreshes of the metadata: each failed attempt to write requests one as well."""

FAILURES = (KafkaError, TimeoutError)
"""Errors of calls to a producer; `Producer.explain` turns each into a `PublishError`."""

_DEFAULTS: dict[str, Any] = {
    "compression_type": None,
    "linger_ms": 0,
    "max_batch_size": 16_384,
    "max_request_size": 1_048_576,
    "client_id": "gateway-publisher",
    "security_protocol": "PLAINTEXT",
    "ssl_context": None,
    "sasl_mechanism": "PLAIN",
    "sasl_plain_username": None,
    "sasl_plain_password": None,
    "sasl_kerberos_service_name": "kafka",
    "sasl_kerberos_domain_name": None,
    "sasl_oauth_token_provider": None,
}
"""The options, named as in aiokafka's producer, and their defaults."""

_CODECS = {None: 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}

_log = logging.getLogger(__name__)


class Producer:
    """Sends messages; calls need a running loop, run concurrently, can be cancelled.

    `options` are those of `connection_options`, and `compression_type`, `linger_ms`,
    `max_batch_size` and `max_request_size` as in aiokafka's producer. Raises `TypeError` and
    `ValueError` for others.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        partitioner: Literal["murmur2", "crc32"],
        timeout: float,
    ) -> None:
        self._options = {**_DEFAULTS, **options}
        self._batching = _batching(self._options, timeout)
        self._bootstrap = ",".join(options["bootstrap_servers"])
        self._partitioner = partitioner_named(partitioner)
        self._timeout = timeout
        self._connection: tuple[ClusterClient, BatchWriter] | None = None
        self._preparing = asyncio.Lock()
        self._closed = False
        self._rest_until = float("-inf")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connect(self) -> None:
        """Connect, unless connected. Raises `KafkaError` if no broker answers.

        Takes 5 ms with a reachable broker, including the check for idempotence.
        """
        self._closed = False
        try:
            async with asyncio.timeout(self._timeout), self._preparing:
                await self._connected()
        except TimeoutError:
            raise KafkaConnectionError(self._bootstrap) from None

    async def send(self, topic: TopicSpec, message: Message) -> asyncio.Future[None]:
        """Buffer a message; the returned future resolves when Kafka has acknowledged it.

        Messages of one caller keep their order. Raises `PublishError` if the topic is missing and
        `KafkaError` otherwise.
        """
        connection = self._connection
        if connection is None or not connection[0].partition_count(topic.name):
            connection = await self._prepared(topic)
        client, writer = connection
        partition = 0
        if message.key is not None:  # workers read only partition 0 of the broadcast topic
            partition = self._partitioner(message.key, client.partition_count(topic.name))
        return await writer.add(TopicPartition(topic.name, partition), message)

    async def close(self) -> None:
        """Send buffered messages, within the timeout, and disconnect; later messages fail."""
        self._closed = True
        if self._connection is None:
            return
        client, writer = self._connection
        self._connection = None
        try:
            async with asyncio.timeout(self._timeout):
                await writer.flush()
        except TimeoutError:  # a batch in doubt is resent without limit
            _log.warning("Kafka did not confirm the last events in %g s: given up", self._timeout)
        finally:
            try:
                await client.stop()
            finally:
                writer.close()

    def explain(self, error: KafkaError | TimeoutError, *, sent: bool = True) -> PublishError:
        """Return an error with the fate of an event, the cause and the remedy.

        `sent` is false if the event did not reach the producer's buffer.
        """
        if isinstance(error, TimeoutError) and not sent:
            return PublishError(
                f"Kafka at {self._bootstrap} took no event for {self._timeout:g} s, and the"
                " publisher's buffer is full; the event was not written"
            )
        if isinstance(error, TimeoutError):
            return PublishError(
                f"Kafka at {self._bootstrap} did not confirm the event within {self._timeout:g} s;"
                " it may still be written",
                may_be_written=True,
            )
        if isinstance(error, InDoubt):
            return PublishError(
                f"Kafka's answer to the event was lost, so it may have been written: {error}",
                may_be_written=True,
            )
        if isinstance(error, ProducerClosed):
            return PublishError("the publisher is closed; the event was not written")
        if isinstance(error, KafkaConnectionError):
            return PublishError(f"no Kafka broker answers at {self._bootstrap}")
        if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
            return PublishError(
                "the event is too large: make it smaller, or raise max_request_size of the"
                " publisher and max.message.bytes of the topic"
            )
        if isinstance(error, TopicAuthorizationFailedError) and error.args:
            return PublishError(f"{missing_right('Write', str(error.args[0]), self._options)}")
        if isinstance(error, InvalidTimestampError):
            return PublishError(
                "Kafka refused the event's timestamp: set this machine's clock, or look at"
                " message.timestamp.before.max.ms and message.timestamp.after.max.ms of the topic"
            )
        if isinstance(error, LeaderNotAvailableError):
            cause = error.args[0] if error.args else "its partition has no leader"
            return PublishError(f"the event was not written: {cause}; look at the Kafka brokers")
        if isinstance(error, UnknownTopicOrPartitionError):
            return PublishError(
                "the event was not written: its partition does not exist any more; create the"
                " topic again"
            )
        return PublishError(f"Kafka refused the event: {error}")

    async def _prepared(self, topic: TopicSpec) -> tuple[ClusterClient, BatchWriter]:
        """Return the connection once the topic was found."""
        async with self._preparing:
            connection = await self._connected()
            cluster = await connection[0].describe([topic.name])
        if topic.name in cluster.denied:
            raise PublishError(str(missing_right("Write", topic.name, self._options)))
        if topic.name not in cluster.partitions:
            command = creation_command(topic, self._options)
            raise PublishError(f"the topic {topic.name} does not exist; to create it: {command}")
        return connection

    async def _connected(self) -> tuple[ClusterClient, BatchWriter]:
        if self._closed:
            raise ProducerClosed
        if self._connection is not None:
            return self._connection
        now = asyncio.get_running_loop().time()
        if now < self._rest_until:
            raise KafkaConnectionError(self._bootstrap)
        self._rest_until = now + RETRY_SECONDS
        async with AsyncExitStack() as stack:
            client = ClusterClient(self._options, refresh_seconds=REFRESH_SECONDS)
            stack.push_async_callback(client.stop)
            await client.start()
            writer = BatchWriter(client, self._batching)
            await writer.producer_id()
            if self._closed:
                raise ProducerClosed
            stack.pop_all()
        self._connection = client, writer
        return self._connection


def _batching(options: Mapping[str, Any], timeout: float) -> Batching:
    """Return how records are batched. Raises `TypeError` and `ValueError` for bad options."""
    unknown = sorted(options.keys() - _DEFAULTS.keys() - {"bootstrap_servers"})
    if unknown:
        raise TypeError(f"unknown options {', '.join(unknown)}; known: {', '.join(_DEFAULTS)}")
    if options["compression_type"] not in _CODECS:
        codecs = ", ".join(str(codec) for codec in _CODECS)
        raise ValueError(f"compression_type must be one of {codecs}")
    return Batching(
        timeout,
        _CODECS[options["compression_type"]],
        options["linger_ms"] / 1000,
        options["max_batch_size"],
        options["max_request_size"],
    )
