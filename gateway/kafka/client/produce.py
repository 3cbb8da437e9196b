"""Requests of an idempotent producer (KIP-98): its id, and batches to write."""

from __future__ import annotations

import asyncio
import logging
import struct
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from aiokafka.errors import KafkaConnectionError, KafkaError, for_code

from gateway.core.records import TopicPartition
from gateway.kafka.client import wire
from gateway.kafka.client.connection import NotSentError
from gateway.kafka.client.requests import Api, ask, by_topic
from gateway.kafka.client.wire import Reader, array_head, string

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.kafka.client.cluster import ClusterClient
    from gateway.kafka.client.connection import Connection

PRODUCE = Api(wire.PRODUCE, 3, 7)
"""Version 3 (Kafka 0.11) adds record batches, 7 zstd."""

PRODUCER_ID = Api(wire.INIT_PRODUCER_ID, 0, 1)

_ALL_REPLICAS = -1
"""The `acks` of a write that all replicas in sync have."""

_INT32_MOST = (1 << 31) - 1

TIMED_OUT = 7
"""The error code of a broker whose replicas are late; stands also for a lost answer."""

_log = logging.getLogger(__name__)


class ProducerId(NamedTuple):
    """The identity of an idempotent producer."""

    id: int
    epoch: int


NO_PRODUCER = ProducerId(-1, -1)
"""Stands for a producer without idempotence."""


class BrokerWriter:
    """Sends batches to a broker, one request at a time."""

    def __init__(self, client: ClusterClient, node_id: int, timeout: float, max_bytes: int) -> None:
        self._client = client
        self._node_id = node_id
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._throttled_until = float("-inf")
        self._connection: Connection | None = None
        self._waiting: dict[TopicPartition, tuple[bytes, asyncio.Future[int]]] = {}
        self._task: asyncio.Task[None] | None = None

    def write(self, log: TopicPartition, batch: bytes) -> asyncio.Future[int]:
        """Return the future of the error code; it raises `KafkaError` if nothing was sent."""
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        throttled = self._throttled_until - loop.time()
        if throttled > 0:
            problem = f"broker {self._node_id} throttles this client for {throttled:.1f} s"
            answer.set_exception(KafkaConnectionError(problem))
            return answer
        self._waiting[log] = batch, answer
        if self._task is None or self._task.done():
            self._task = self._client.start_task(self._run())
        return answer

    def withdraw(self, log: TopicPartition, error: KafkaError) -> None:
        """Fail the batch of a partition, unless it was sent."""
        _, answer = self._waiting.pop(log, (b"", None))
        if answer is not None and not answer.done():
            answer.set_exception(error)

    def disconnect(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    async def _run(self) -> None:
        failure: KafkaError = KafkaConnectionError("unexpected exception")
        try:
            while self._waiting:
                connection = self._connection
                if connection is None or connection.closed:
                    connection = self._connection = await self._client.connect(self._node_id)
                await self._send(connection)
        except KafkaError as error:
            failure = error
        finally:
            for _, answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(failure)
            self._waiting.clear()

    async def _send(self, connection: Connection) -> None:
        sent = self._take()
        batches = {log: batch for log, (batch, _) in sent.items()}
        request = partial(produce_request, batches, timeout_ms=int(self._timeout * 1000))
        codes: dict[TopicPartition, int] = {}
        not_sent: NotSentError | None = None
        try:
            codes, throttle_ms = await ask(
                connection, PRODUCE, request, read_produce, self._timeout
            )
            self._throttled_until = asyncio.get_running_loop().time() + throttle_ms / 1000
        except NotSentError as error:
            not_sent = error
        except KafkaConnectionError as error:
            _log.warning("answer to events lost: %s", error)
        finally:
            for log, (_, answer) in sent.items():
                if answer.done():
                    continue
                if not_sent is not None:
                    answer.set_exception(not_sent)
                else:
                    answer.set_result(codes.get(log, TIMED_OUT))

    def _take(self) -> dict[TopicPartition, tuple[bytes, asyncio.Future[int]]]:
        """Remove and return the oldest batches, one at least, that fit into a request."""
        size = 0
        sent: dict[TopicPartition, tuple[bytes, asyncio.Future[int]]] = {}
        for log, waiting in self._waiting.items():
            size += len(waiting[0])
            if sent and size > self._max_bytes:
                break
            sent[log] = waiting
        for log in sent:
            del self._waiting[log]
        return sent


async def new_producer_id(connection: Connection) -> ProducerId:
    """Return the id that the broker assigns. Raises `KafkaError`."""
    error, producer = await ask(connection, PRODUCER_ID, _producer_id_request, _read_producer_id)
    if error:
        raise for_code(error)(f"{connection.peer} assigns no producer id")
    return producer


def _producer_id_request(_version: int) -> bytes:
    """Return the InitProducerId request of a producer without transactions."""
    return struct.pack(">hi", -1, _INT32_MOST)  # transactional_id, transaction_timeout_ms


def _read_producer_id(body: bytes, _version: int) -> tuple[int, ProducerId]:
    """Return the error code and the producer id of a response."""
    reader = Reader(body, flexible=False)
    reader.int32()  # throttle_time_ms
    return reader.int16(), ProducerId(reader.int64(), reader.int16())


def produce_request(
    batches: Mapping[TopicPartition, bytes], _version: int, *, timeout_ms: int
) -> bytes:
    """Return the request that writes a batch to each log.

    `timeout_ms` bounds the wait of the broker for its replicas.
    """
    topics = by_topic(batches)
    parts = [struct.pack(">hhii", -1, _ALL_REPLICAS, timeout_ms, len(topics))]
    for topic, logs in topics.items():
        parts += [string(topic, flexible=False), array_head(len(logs), flexible=False)]
        for log in logs:
            parts += [struct.pack(">ii", log.partition, len(batches[log])), batches[log]]
    return b"".join(parts)


def read_produce(body: bytes, version: int) -> tuple[dict[TopicPartition, int], int]:
    """Return the error code of each log, and for how long to send no other request (ms).

    Code 0: the batch was written. Brokers before version 6 of the request have delayed the response
    instead (KIP-219).
    """
    reader = Reader(body, flexible=False)
    # index, error_code, base_offset, log_append_time_ms, log_start_offset
    layout = struct.Struct(">ihqqq" if version >= 5 else ">ihqq")
    found = {}
    for _ in range(reader.count()):
        topic = reader.string() or ""
        for _ in range(reader.count()):
            partition, error, *_ = reader.fields(layout)
            found[TopicPartition(topic, partition)] = error
    throttle_ms = reader.int32()
    return found, throttle_ms if version >= 6 else 0
