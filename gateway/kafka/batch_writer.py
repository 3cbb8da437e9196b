"""Writes records in batches, and recovers after a rejected or lost batch.

An idempotent producer numbers the records of each partition, and a broker accepts only the next
number (KIP-98). A batch is numbered when it is built, and its numbers are used up only if it was
written:

| outcome of a batch | sequence numbers | records |
| --- | --- | --- |
| unknown, or the leader has changed | are kept | are resent in the same batch |
| rejected | are reused | fail with the broker's error |
| rejected as too large, with several records | are reused | are sent in two halves |
| rejected for its number, producer id or epoch | new producer id | are resent, in order |
| rejected, but an earlier attempt may have written it | new producer id | fail: `InDoubt` |

A partition has one batch at a time, and later records have not been numbered yet: resent records
stay ahead of all later records. A record that may have been written under an old number is never
resent under a new one, so no record is written twice.

A batch that was not written fails after the timeout, for example while its partition has no leader.
Each partition with records has a task, and so has each broker with batches to send: a broker gets
one request at a time, with the batches of all partitions that have one by then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaError,
    LeaderNotAvailableError,
    MessageSizeTooLargeError,
    ProducerClosed,
    UnknownError,
    UnknownTopicOrPartitionError,
    UnsupportedVersionError,
)
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from gateway.kafka.client.error_codes import log_name, partition_error
from gateway.kafka.client.produce import (
    NO_PRODUCER,
    TIMED_OUT,
    BrokerWriter,
    ProducerId,
    new_producer_id,
)
from gateway.kafka.partition_queue import SEQUENCE_BROKEN, PartitionQueue, WaitingRecord

if TYPE_CHECKING:
    from gateway.core.records import TopicPartition
    from gateway.kafka.client.cluster import ClusterClient
    from gateway.kafka.envelope import Message

EXPIRED_AFTER = 0.9
"""Fraction of the timeout after which a batch fails that was not written. Callers wait for the
timeout, and would otherwise not learn that their event was not written."""

RETRY_SECONDS = 0.1
"""Pause before a batch is resent, and before another request for a producer id."""

REPORTED_FAILURES = 20
"""Failed requests for a producer id before a warning, 2 s at least: a broker that has just started
assigns none for a moment."""

_WRITTEN = {0, 46}
"""No error; duplicate sequence number: an earlier attempt has written the batch."""

_NOT_SENT, _IN_DOUBT = -2, -3
"""Codes of our own: nothing was sent, or the outcome stays unknown."""

_PERHAPS_WRITTEN = {-1, 6, TIMED_OUT, 20, 56}
"""Unknown error, not leader, request timed out, not enough replicas after append, storage error:
the broker may have written the batch. A former leader answers 6 also to a batch that it has
appended and whose replicas it awaits."""

_SEQUENCE_LIMIT = 1 << 31
"""Sequence numbers wrap from 2^31 - 1 to 0."""

_NOT_IDEMPOTENT = (
    UnknownError,  # the embedded broker's answer
    UnsupportedVersionError,
    ClusterAuthorizationFailedError,  # brokers before 2.8 require the ACL IdempotentWrite
)

_log = logging.getLogger(__name__)


class InDoubt(KafkaError):  # type: ignore[misc] # aiokafka ships no type information
    """An event may have been written or not: Kafka's response was lost."""


class Batching(NamedTuple):
    """How records are batched."""

    timeout: float
    """Seconds that a broker may take for a request, and that a record may wait for it."""
    codec: int
    """The compression among the attributes of a batch."""
    linger: float
    """Seconds that a record waits for others of its partition."""
    max_bytes: int
    """Size of a batch, and of the records that wait for their partition."""
    max_record_bytes: int
    """Size of a record, and of the batches in a request unless there is only one."""


class BatchWriter:
    """Writes records to their partitions, in tasks of `client`, which the caller stops.

    If the brokers refuse idempotent writes, a retry may write a record twice.
    """

    def __init__(self, client: ClusterClient, batching: Batching) -> None:
        self._client = client
        self._batching = batching
        self._producer: ProducerId | None = None
        self._assigning = asyncio.Lock()
        self._numbers: defaultdict[TopicPartition, int] = defaultdict(int)
        """The next sequence number of each partition, for this producer id."""
        self._partitions: dict[TopicPartition, PartitionQueue] = {}
        """The partitions with records."""
        self._brokers: dict[int, BrokerWriter] = {}
        self._idempotent = False
        """Whether a producer id was assigned."""
        self._closed = False

    async def producer_id(self) -> ProducerId:
        """Return the current producer id, assigned by any broker. Raises `KafkaError`."""
        async with self._assigning:
            failures = 0
            while self._producer is None:
                try:
                    self._producer = await self._client.ask_any(new_producer_id)
                    self._idempotent = True
                except KafkaError as error:
                    if isinstance(error, _NOT_IDEMPOTENT) and not self._idempotent:
                        _log.info(
                            "the broker has no idempotent writes: a retry may write an event twice"
                        )
                        self._producer = NO_PRODUCER
                    elif error.retriable or isinstance(error, UnknownError):
                        failures += 1
                        if failures == REPORTED_FAILURES:
                            _log.warning("no producer id yet, events wait: %s", error)
                        await asyncio.sleep(RETRY_SECONDS)
                    else:
                        raise
                self._numbers.clear()
        return self._producer

    async def add(self, log: TopicPartition, message: Message) -> asyncio.Future[None]:
        """Return the future of a record; waits while too many bytes wait for its partition."""
        _, key, value, headers = message
        size = DefaultRecordBatchBuilder.estimate_size_in_bytes(key, value, headers)
        if size > self._batching.max_record_bytes:
            raise MessageSizeTooLargeError
        if self._closed:
            raise ProducerClosed
        loop = asyncio.get_running_loop()
        record = WaitingRecord(
            loop.create_future(), message, int(time.time() * 1000), loop.time(), size
        )
        partition = self._partitions.get(log)
        if partition is None:
            partition = self._partitions[log] = PartitionQueue(log)
            partition.task = self._client.start_task(self._write(partition))
        if partition.blocked or partition.size >= self._batching.max_bytes:
            await partition.put_later(record)
        else:
            partition.put(record)
        return record.written

    async def flush(self) -> None:
        """Return when no record waits."""
        tasks = [each.task for each in self._partitions.values() if each.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        """Close the connections and fail all records; `client` must be stopped."""
        self._closed = True
        for partition in self._partitions.values():  # a task may be cancelled before it has begun
            partition.fail(ProducerClosed())
        for broker in self._brokers.values():
            broker.disconnect()

    # The task of a partition.

    async def _write(self, partition: PartitionQueue) -> None:
        """Write batches until no record waits."""
        error: KafkaError = ProducerClosed()
        try:
            while partition.waiting:
                await self._linger(partition)
                await self._write_batch(partition, await self.producer_id())
        except KafkaError as failure:
            error = failure
        finally:
            del self._partitions[partition.log]
            partition.fail(error)

    async def _linger(self, partition: PartitionQueue) -> None:
        loop = asyncio.get_running_loop()
        due = partition.waiting[0].since + self._batching.linger
        while loop.time() < due and partition.size < self._batching.max_bytes:
            await partition.wait(due - loop.time())

    async def _write_batch(self, partition: PartitionQueue, producer: ProducerId) -> None:
        """Write one batch, and handle its outcome as in the module's table."""
        number = self._numbers[partition.log]
        builder = DefaultRecordBatchBuilder(
            2,
            self._batching.codec,
            is_transactional=0,
            producer_id=producer.id,
            producer_epoch=producer.epoch,
            base_sequence=number,
            batch_size=self._batching.max_bytes,
        )
        records = partition.take(builder)
        partition.admit(self._batching.max_bytes)
        code = _IN_DOUBT
        error: KafkaError | None = InDoubt("the producer was stopped")
        try:
            since = records[0].since
            code, error = await self._outcome(partition.log, bytes(builder.build()), since)
        finally:
            if producer == self._producer != NO_PRODUCER:
                if code in _WRITTEN:
                    self._numbers[partition.log] = (number + len(records)) % _SEQUENCE_LIMIT
                elif code in SEQUENCE_BROKEN or code == _IN_DOUBT:
                    self._producer = None
            partition.end(records, code, error)

    async def _outcome(
        self, log: TopicPartition, batch: bytes, since: float
    ) -> tuple[int, KafkaError | None]:
        """Send a batch until its outcome is known; return the error code and the error."""
        loop = asyncio.get_running_loop()
        expires = since + EXPIRED_AFTER * self._batching.timeout
        in_doubt = False
        error: KafkaError = LeaderNotAvailableError("its broker did not accept it in time")
        while True:
            withdrawal = None if in_doubt else (expires, error)
            code, error = await self._attempt(log, batch, withdrawal)
            if code in _WRITTEN:
                return code, None
            in_doubt = in_doubt or code in _PERHAPS_WRITTEN
            unlimited = in_doubt and self._producer != NO_PRODUCER
            if error.retriable:  # also for the next batch
                self._client.request_refresh()
            if error.retriable and (unlimited or loop.time() < expires):
                await asyncio.sleep(RETRY_SECONDS)
            elif in_doubt:
                return _IN_DOUBT, InDoubt(str(error))
            else:
                return code, error

    async def _attempt(
        self, log: TopicPartition, batch: bytes, withdrawal: tuple[float, KafkaError] | None
    ) -> tuple[int, KafkaError]:
        """Send a batch once, unless it cannot be sent by the time of `withdrawal`."""
        leader = self._client.leader(log)
        if leader is None and log.partition >= self._client.partition_count(log.topic):
            return _NOT_SENT, UnknownTopicOrPartitionError(log_name(log))
        if leader is None:
            return _NOT_SENT, LeaderNotAvailableError("its partition has no leader")
        broker = self._brokers.get(leader.node_id)
        if broker is None:
            broker = BrokerWriter(
                self._client,
                leader.node_id,
                self._batching.timeout,
                self._batching.max_record_bytes,
            )
            self._brokers[leader.node_id] = broker
        answer = broker.write(log, batch)
        timer = None
        if withdrawal is not None:
            expires, error = withdrawal
            loop = asyncio.get_running_loop()
            timer = loop.call_at(expires, broker.withdraw, log, error)
        try:
            code = await answer
        except LeaderNotAvailableError as error:  # withdrawn
            return _NOT_SENT, error
        except KafkaError as error:
            return _NOT_SENT, LeaderNotAvailableError(str(error))
        finally:
            if timer is not None:
                timer.cancel()
        return code, partition_error(code, log)
