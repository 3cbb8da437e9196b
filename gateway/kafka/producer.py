"""The producer of the publisher, of revocations and of worker statuses.

The producer connects at the first use, and again after a failure, so that a service may start
before Kafka does. Writes are idempotent if the broker supports it. Requests name only topics in the
broker's list of all topics, because naming a missing topic creates it if the broker allows that.

`gateway.kafka.idempotent` documents the handling of events whose batch is rejected or lost.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Literal, Self

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    IncompatibleBrokerVersion,
    InvalidTimestampError,
    KafkaConnectionError,
    KafkaError,
    LeaderNotAvailableError,
    MessageSizeTooLargeError,
    NotLeaderForPartitionError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownError,
    UnsupportedVersionError,
)

from gateway.core.partitioner import partitioner as partitioner_named
from gateway.errors import BrokerError, PublishError
from gateway.kafka.diagnosis import missing_right
from gateway.kafka.idempotent import IdempotentProducer, InDoubt
from gateway.kafka.topics import TopicSpec, creation_command, describe

if TYPE_CHECKING:
    from gateway.kafka.envelope import Message

RETRY_SECONDS = 1.0
"""Minimum interval of connection attempts: a busy service does not reconnect for each event."""

FAILURES = (KafkaError, TimeoutError)
"""Errors of calls to a producer; `Producer.explain` turns each into a `PublishError`."""

_NOT_IDEMPOTENT = (
    UnknownError,  # the embedded broker's answer
    UnsupportedVersionError,
    IncompatibleBrokerVersion,
    ClusterAuthorizationFailedError,  # brokers before 2.8 require the ACL IdempotentWrite
)

_log = logging.getLogger(__name__)


class Producer:
    """Sends messages; calls need a running loop, run concurrently, can be cancelled.

    `options` are those of `connection_options`, and others of `AIOKafkaProducer`.
    """

    def __init__(
        self,
        options: dict[str, Any],
        partitioner: Literal["murmur2", "crc32"],
        timeout: float,
    ) -> None:
        self._options = {"request_timeout_ms": int(timeout * 1000), **options}
        self._bootstrap = ",".join(options["bootstrap_servers"])
        self._partitioner = partitioner_named(partitioner)
        self._timeout = timeout
        self._started: IdempotentProducer | None = None
        self._topics: frozenset[str] = frozenset()
        self._preparing = asyncio.Lock()
        self._rest_until = float("-inf")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connect(self) -> None:
        """Connect, unless connected. Raises `KafkaError` if no broker answers.

        Takes 5 ms with a reachable broker, including the check for idempotence.
        """
        try:
            async with asyncio.timeout(self._timeout), self._preparing:
                await self._connected()
        except TimeoutError:
            raise KafkaConnectionError(self._bootstrap) from None

    async def send(self, topic: TopicSpec, message: Message) -> asyncio.Future[Any]:
        """Buffer a message; the returned future resolves when Kafka has acknowledged it.

        Messages of one caller keep their order. Raises `PublishError` if the topic is missing and
        `KafkaError` otherwise.
        """
        producer = self._started
        if producer is None or not self._knows(producer, topic):
            producer = await self._prepared(topic)
        # Workers read only partition 0 of the broadcast topic.
        partition = 0 if message.key is None else None
        future: asyncio.Future[Any] = await producer.send(
            topic.name, message.value, message.key, partition, headers=message.headers
        )
        return future

    async def close(self) -> None:
        """Send buffered messages, within the timeout, and disconnect."""
        if self._started is None:
            return
        try:
            async with asyncio.timeout(self._timeout):
                await self._started.stop()
        except TimeoutError:
            # An idempotent producer retries without limit.
            _log.warning("Kafka did not confirm the last events in %g s: given up", self._timeout)
            await self._started.abandon()

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
            return PublishError(
                "the event was not written: its partition has no leader; look at the brokers"
            )
        if isinstance(error, NotLeaderForPartitionError):
            return PublishError(
                "the event was not written: its partition does not exist any more; create the"
                " topic again"
            )
        return PublishError(f"Kafka refused the event: {error}")

    async def _prepared(self, topic: TopicSpec) -> IdempotentProducer:
        async with self._preparing:
            producer = await self._connected()
            if not self._knows(producer, topic):
                metadata = await producer.client.fetch_all_metadata()
                self._topics = frozenset(metadata.topics())
        if topic.name not in self._topics:
            raise await self._unlisted(topic)
        return producer

    async def _unlisted(self, topic: TopicSpec) -> PublishError:
        """Return why the list of all topics lacks a topic: no right on it, or it is missing."""
        try:
            cluster = await describe(self._options, [topic.name], self._timeout)
        except BrokerError as error:
            return PublishError(str(error))
        if topic.name in cluster.denied:
            return PublishError(str(missing_right("Write", topic.name, self._options)))
        command = creation_command(topic, self._options)
        return PublishError(f"there is no topic {topic.name}; to create it: {command}")

    def _knows(self, producer: IdempotentProducer, topic: TopicSpec) -> bool:
        """Return whether the producer runs and its metadata has the topic's partitions."""
        partitions = producer.client.cluster.partitions_for_topic(topic.name)
        return not producer.ended and topic.name in self._topics and partitions is not None

    async def _connected(self) -> IdempotentProducer:
        if self._started is not None and not self._started.ended:
            return self._started
        now = asyncio.get_running_loop().time()
        if now < self._rest_until:
            raise KafkaConnectionError(self._bootstrap)
        self._rest_until = now + RETRY_SECONDS
        ended, self._started = self._started, None
        if ended is not None:
            await ended.abandon()
        try:
            self._started = await self._start(idempotent=True)
        except _NOT_IDEMPOTENT:
            _log.info("the broker has no idempotent writes: a retry may write an event twice")
            self._started = await self._start(idempotent=False)
        return self._started

    async def _start(self, *, idempotent: bool) -> IdempotentProducer:
        producer = IdempotentProducer(
            idempotent=idempotent,
            partitioner=self._partition,
            options=self._options,
        )
        async with AsyncExitStack() as stack:
            stack.push_async_callback(producer.stop)
            await producer.start()
            stack.pop_all()
        return producer

    def _partition(self, key: bytes, partitions: list[int], _available: list[int]) -> int:
        return self._partitioner(key, len(partitions))
