"""aiokafka's producer, which recovers after a rejected or lost batch.

An idempotent producer assigns sequence numbers to the records of each partition, and a broker
accepts only the next number. aiokafka assigns them when it takes a batch from its buffer and does
not recover if the batch fails: the broker then rejects every later batch of that partition with
`OutOfOrderSequenceNumber`, until the process ends. This module handles a failed batch as follows:

| the batch | its sequence numbers | its records |
| --- | --- | --- |
| was rejected, in all attempts | are reused | fail with the broker's error |
| was rejected as too large, with several records | are reused | are sent in two halves |
| was rejected for its number, producer id or epoch | new producer id | are resent, in order |
| may have been written: the response to one attempt was lost | new producer id | fail: `InDoubt` |

A partition has one batch in flight, and later batches have not been numbered yet: resent records
stay ahead of all later records. A record that may have been written under an old number is never
resent under a new one, so no record is written twice.

Records for a partition without a leader fail, unsent, after the request timeout. The client
requests its leader a few times a second, and other partitions do not wait for the answer. aiokafka
repeats the request without a pause.

All private names of aiokafka's producer that the gateway uses are in this module, and those of its
client in `gateway.kafka.client.brokers`.
"""

# ruff: noqa: SLF001

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    BrokerResponseError,
    IncompatibleBrokerVersion,
    KafkaError,
    MessageSizeTooLargeError,
    NodeNotReadyError,
    OutOfOrderSequenceNumber,
    ProducerClosed,
    ProducerFenced,
    RecordListTooLargeError,
    UnknownError,
    UnknownProducerId,
)
from aiokafka.producer.message_accumulator import MessageAccumulator, MessageBatch
from aiokafka.producer.transaction_manager import (
    NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID,
    PidAndEpoch,
    TransactionManager,
)
from aiokafka.util import INTEGER_MAX_VALUE

from gateway.kafka.client.brokers import BrokerClient, pass_cancellation

if TYPE_CHECKING:
    from collections.abc import Callable

ATTEMPTS = 3
"""How often a batch is resent under a new producer id before its records fail."""

EXPIRED_AFTER = 0.9
"""Fraction of the request timeout after which a batch without a leader fails. Callers wait for the
timeout, and would otherwise not learn that their event was not sent."""

STOP_SECONDS = 1.0
"""Timeout of a producer's stop after its connections are closed."""

_SEQUENCE_LIMIT = 1 << 31

_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)

_SEQUENCE_BROKEN = (OutOfOrderSequenceNumber, UnknownProducerId, ProducerFenced)

_REFUSALS = (BrokerResponseError, ProducerFenced, NodeNotReadyError, IncompatibleBrokerVersion)
"""Errors of a batch that was not written or not sent; except `UnknownError`, which is unclear."""


class InDoubt(KafkaError):  # type: ignore[misc] # aiokafka ships no type information
    """An event may have been written or not: Kafka's response was lost."""


class IdempotentProducer(AIOKafkaProducer):  # type: ignore[misc]
    """A producer that recovers from rejections; options as in `AIOKafkaProducer`.

    With `idempotent=False` a retry may write a record twice, for brokers without idempotence.
    """

    def __init__(
        self,
        *,
        idempotent: bool,
        partitioner: Callable[[bytes, list[int], list[int]], int],
        options: dict[str, Any],
    ) -> None:
        self.client: Any
        self._message_accumulator: Any
        super().__init__(
            acks="all",
            enable_idempotence=idempotent,
            partitioner=partitioner,
            **options,
        )
        self.client = BrokerClient.like(self.client)
        self._metadata = self.client.cluster
        numbers = _Numbers(None, INTEGER_MAX_VALUE) if idempotent else None
        buffer = _Buffer(self.client, numbers, self._message_accumulator)
        self._txn_manager = self._sender._txn_manager = numbers
        self._message_accumulator = self._sender._message_accumulator = buffer
        self._sender.client = self.client

    @property
    def ended(self) -> bool:
        """Whether the sender task has ended, as after a rejected producer id."""
        task = self._sender.sender_task
        return task is not None and task.done()

    async def stop(self) -> None:
        """Send buffered records, then disconnect."""
        await super().stop()
        pass_cancellation()

    async def abandon(self) -> None:
        """Stop at once: buffered records fail and are never sent.

        Takes `STOP_SECONDS` at most.
        """
        self._closed = True
        self._message_accumulator.fail_all(ProducerClosed())
        try:
            await self.client.close()
        finally:  # `close` raises if this task is being cancelled, as at the end of a worker
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await self._sender.close()
        pass_cancellation()


class _Numbers(TransactionManager):  # type: ignore[misc]
    """The producer id, and the next sequence number of each partition."""

    def increment_sequence_number(self, tp: TopicPartition, increment: int) -> None:
        """Advance or rewind a sequence; as in Kafka, it wraps from 2^31 - 1 to 0."""
        self._sequence_numbers[tp] = (self._sequence_numbers[tp] + increment) % _SEQUENCE_LIMIT

    def renew(self) -> None:
        """Request a new producer id for the next batch; batches in flight keep theirs."""
        self._pid_and_epoch = PidAndEpoch(NO_PRODUCER_ID, NO_PRODUCER_EPOCH)
        self._pid_waiter = asyncio.get_running_loop().create_future()
        self._sequence_numbers.clear()

    def fatal_error(self, exc: BaseException) -> None:
        """Do nothing: transactions are not used, and the buffer fails waiting callers."""


class _Buffer(MessageAccumulator):  # type: ignore[misc]
    """Batches to send by partition: one in flight, and at most one that fills."""

    def __init__(self, client: BrokerClient, numbers: _Numbers | None, like: Any) -> None:
        super().__init__(
            client.cluster,
            like._batch_size,
            like._compression_type,
            like._batch_ttl * EXPIRED_AFTER,
            txn_manager=numbers,
            linger_ms=like._linger_time * 1000,
        )
        self.client = client
        self.numbers = numbers

    def fail_all(self, exception: BaseException) -> None:
        super().fail_all(exception)
        self._batches.clear()

    def reenqueue(self, batch: _Batch) -> None:
        if not batch.future.done():  # done: `fail_all` was called meanwhile
            super().reenqueue(batch)

    async def flush(self) -> None:
        while self._batches or self._pending_batches:
            await super().flush()

    def drain_by_nodes(
        self, ignore_nodes: Any, muted_partitions: Any = frozenset()
    ) -> tuple[Any, bool]:
        """Return the batches to send, by broker; look up missing leaders concurrently.

        aiokafka's sender would wait for the lookup and send nothing to the other partitions.
        """
        nodes, leaderless = super().drain_by_nodes(ignore_nodes, muted_partitions)
        if leaderless:
            waiter = self._waiter_future
            update = self.client.force_metadata_update()
            update.add_done_callback(lambda _: self._wakeup(waiter))
        return nodes, False

    def _append_batch(self, builder: Any, tp: TopicPartition) -> _Batch:
        batch = _Batch(self, tp, builder)
        self._batches[tp].append(batch)
        self._wakeup(self._waiter_future)
        return batch

    def put_back(self, tp: TopicPartition, records: list[_Record], requeued: int) -> None:
        """Put a batch of these records at the head of the partition's queue."""
        batch = _Batch(self, tp, self.create_builder(), requeued)
        for record in records:
            batch.append_again(record)
        # Later records go to another batch: this one may be rejected for its size.
        batch._builder.close()
        self._batches[tp].appendleft(batch)
        self._wakeup(self._waiter_future)


_Record = tuple[Any, tuple[bytes | None, bytes | None, int | None, Any]]
"""The future of a record, and the arguments of `append`: key, value, timestamp, headers."""


class _Batch(MessageBatch):  # type: ignore[misc]
    """Records of one partition that are written atomically."""

    def __init__(
        self, buffer: _Buffer, tp: TopicPartition, builder: Any, requeued: int = 0
    ) -> None:
        super().__init__(tp, builder, buffer._batch_ttl, buffer._linger_time)
        self._buffer = buffer
        self._requeued = requeued
        self._records: list[_Record] = []
        self._producer_id = NO_PRODUCER_ID

    def append(
        self, key: Any, value: Any, timestamp_ms: int | None, headers: Any = (), **create: Any
    ) -> Any:
        future = super().append(key, value, timestamp_ms, headers=headers, **create)
        if future is not None:
            self._records.append((future, (key, value, timestamp_ms, headers)))
        return future

    def append_again(self, record: _Record) -> None:
        """Append a record of a failed batch, with its original future."""
        future, (key, value, timestamp, headers) = record
        self.append(key, value, timestamp, headers, _create_future=lambda: future)

    def set_producer_state(self, producer_id: int, *state: Any, **named: Any) -> None:
        self._producer_id = producer_id
        super().set_producer_state(producer_id, *state, **named)

    def done(self, *place: Any, **named: Any) -> None:
        self._buffer.client.in_doubt.discard(self.tp)
        super().done(*place, **named)

    def failure(self, exception: BaseException) -> None:
        """Handle the failure as in the module's table, before the next batch is taken."""
        in_doubt = self.tp in self._buffer.client.in_doubt
        self._buffer.client.in_doubt.discard(self.tp)
        refused = isinstance(exception, _REFUSALS) and not isinstance(exception, UnknownError)
        if self.retry_count and (in_doubt or not refused):
            # May run within a pass over the buffer, whose batches need the old id until its end.
            asyncio.get_running_loop().call_soon(self._renew)
            super().failure(InDoubt(str(exception)))
        elif isinstance(exception, _SEQUENCE_BROKEN):
            self._renew()
            if self._requeued < ATTEMPTS:
                self._send_again(self._records)
            else:
                super().failure(exception)
        else:
            self._give_back()
            half = (len(self._records) + 1) // 2
            if isinstance(exception, _TOO_LARGE) and half < len(self._records):
                self._send_again(self._records[:half], self._records[half:])
            else:
                super().failure(exception)

    def _send_again(self, *parts: list[_Record]) -> None:
        for records in reversed(parts):
            self._buffer.put_back(self.tp, records, self._requeued + (len(parts) == 1))
        self._msg_futures.clear()
        if not self.future.done():
            self.future.set_result(None)

    def _renew(self) -> None:
        numbers = self._buffer.numbers
        if numbers is not None and self._numbered_by(numbers):
            numbers.renew()

    def _give_back(self) -> None:
        numbers = self._buffer.numbers
        if numbers is not None and self._numbered_by(numbers):
            numbers.increment_sequence_number(self.tp, -self.record_count)

    def _numbered_by(self, numbers: _Numbers) -> bool:
        """Return whether this batch is numbered under the current producer id."""
        return bool(NO_PRODUCER_ID != self._producer_id == numbers.producer_id)
