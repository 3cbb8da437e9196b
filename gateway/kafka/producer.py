"""aiokafka's producer, with what the publisher needs around it.

It is started when it is first needed, and again after a failure, so that a service may start before
Kafka does. It is idempotent where the broker has that. It never names a topic that it has not seen
in the list of all topics, because naming a missing one creates it where the broker allows that.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Literal

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    UnknownError,
    UnsupportedVersionError,
)

from gateway.core.partitioner import partitioner as partitioner_named
from gateway.errors import PublishError
from gateway.kafka.topics import creation_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.kafka.envelope import Message
    from gateway.kafka.topics import TopicSpec

RETRY_SECONDS = 1.0
"""How long a failed connection is taken as still so, that a busy service does not try each time."""

_NOT_IDEMPOTENT = (
    UnknownError,  # what the embedded broker answers
    UnsupportedVersionError,
    IncompatibleBrokerVersion,
    ClusterAuthorizationFailedError,  # brokers before 2.8 want a permission of its own for it
)

_log = logging.getLogger(__name__)


class Producer:
    """Sends messages; every call needs a running loop, and may be cancelled or run with others."""

    def __init__(
        self,
        bootstrap: str | Sequence[str],
        partitioner: Literal["murmur2", "crc32"],
        timeout: float,
        options: dict[str, Any],
    ) -> None:
        self._bootstrap = bootstrap if isinstance(bootstrap, str) else ",".join(bootstrap)
        self._partitioner = partitioner_named(partitioner)
        self._timeout = timeout
        self._options = {"request_timeout_ms": int(timeout * 1000), **options}
        self._started: AIOKafkaProducer | None = None
        self._topics: frozenset[str] = frozenset()
        self._preparing = asyncio.Lock()
        self._rest_until = float("-inf")

    async def connect(self) -> None:
        """Connect, unless it is done. Raises `KafkaError` when no broker answers.

        Takes 5 ms where a broker is up. What it answers about idempotence costs no extra time.
        """
        try:
            async with asyncio.timeout(self._timeout), self._preparing:
                await self._connected()
        except TimeoutError:
            raise KafkaConnectionError(self._bootstrap) from None

    async def send(self, topic: TopicSpec, message: Message) -> asyncio.Future[Any]:
        """Put the message into the producer's buffer; the future is done when Kafka has it.

        Messages of one caller keep their order. Raises `PublishError` where the topic is missing
        and `KafkaError` otherwise.
        """
        producer = self._started
        if producer is None or topic.name not in self._topics:
            producer = await self._prepared(topic)
        # A broadcast topic has one partition; were there more, nobody would read the others.
        partition = 0 if message.key is None else None
        future: asyncio.Future[Any] = await producer.send(
            topic.name, message.value, message.key, partition, headers=message.headers
        )
        return future

    async def close(self) -> None:
        """Send what is buffered, within the timeout, and disconnect."""
        if self._started is None:
            return
        try:
            async with asyncio.timeout(self._timeout):
                await self._started.stop()
        except TimeoutError:
            # Left to itself, an idempotent producer tries for ever.
            _log.warning("Kafka did not take the last events in %g s: given up", self._timeout)
            await self._started.client.close()

    def explain(self, error: KafkaError | TimeoutError) -> PublishError:
        """Return what happened to an event, in words for the person who has to act."""
        if isinstance(error, TimeoutError):
            return PublishError(
                f"Kafka at {self._bootstrap} did not confirm the event within {self._timeout:g} s;"
                " it may still be written"
            )
        if isinstance(error, KafkaConnectionError):
            return PublishError(f"no Kafka broker answers at {self._bootstrap}")
        if isinstance(error, MessageSizeTooLargeError):
            return PublishError(
                "the event is too large: make it smaller, or raise max_request_size of the"
                " publisher and max.message.bytes of the topic"
            )
        return PublishError(f"Kafka did not take the event: {error}")

    async def _prepared(self, topic: TopicSpec) -> AIOKafkaProducer:
        async with self._preparing:
            producer = await self._connected()
            if topic.name not in self._topics:
                metadata = await producer.client.fetch_all_metadata()
                self._topics = frozenset(metadata.topics())
        if topic.name not in self._topics:
            command = creation_command(topic, self._bootstrap)
            raise PublishError(f"there is no topic {topic.name}; to create it: {command}")
        return producer

    async def _connected(self) -> AIOKafkaProducer:
        if self._started is not None:
            return self._started
        now = asyncio.get_running_loop().time()
        if now < self._rest_until:
            raise KafkaConnectionError(self._bootstrap)
        self._rest_until = now + RETRY_SECONDS
        try:
            self._started = await self._start(idempotent=True)
        except _NOT_IDEMPOTENT:
            _log.info("the broker has no idempotent writes: a retry may write an event twice")
            self._started = await self._start(idempotent=False)
        return self._started

    async def _start(self, *, idempotent: bool) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            acks="all",
            enable_idempotence=idempotent,
            partitioner=self._partition,
            **self._options,
        )
        async with AsyncExitStack() as stack:
            stack.push_async_callback(producer.stop)
            await producer.start()
            stack.pop_all()
        return producer

    def _partition(self, key: bytes, partitions: list[int], _available: list[int]) -> int:
        return self._partitioner(key, len(partitions))
