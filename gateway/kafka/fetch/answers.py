"""Processes one fetch response: delivers its records, and handles the errors of partitions."""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import TYPE_CHECKING

import structlog

from gateway import clock
from gateway.kafka.client.error_codes import MOVED, OUT_OF_RANGE, UNKNOWN_TOPIC, describe, log_name
from gateway.kafka.fetch.assignment import FOLLOWER_SECONDS
from gateway.kafka.fetch.batches import BATCH_WORK, LARGE, SLICE, large_batch, unpack
from gateway.kafka.fetch.protocol import NONE, FetchPosition
from gateway.supervise import Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.core.records import Record, TopicPartition
    from gateway.kafka.fetch.assignment import Assignment
    from gateway.kafka.fetch.batches import Batch
    from gateway.kafka.fetch.partition import Partition, Source
    from gateway.kafka.fetch.protocol import Answer

UNEXPECTED = "unexpected exception, see the worker's log"

_log = structlog.stdlib.get_logger(__name__)


class AnswerReader:
    """Reads the answers of one response; `sent` are the requested positions."""

    def __init__(
        self,
        broker: Source,
        assignment: Assignment,
        sent: Mapping[TopicPartition, FetchPosition],
    ) -> None:
        self._broker = broker
        self._assignment = assignment
        self._sent = sent
        self._fresh: dict[TopicPartition, list[Record]] = {}
        """Decoded records that are not delivered yet."""
        self._count = 0
        """The number of records in `_fresh`."""
        self._work = 0
        """Work since the last yield to the event loop, in records."""
        self._total = 0
        """The number of delivered records."""
        self._contained = assignment.contain(Part.PARTITION)

    async def run(self, answers: Iterable[Answer]) -> int:
        """Deliver the records of the answers; return how many there were."""
        assignment, broker, sent = self._assignment, self._broker, self._sent
        cut_off: list[Partition] = []
        advanced = False
        for answer in answers:
            log = answer.log
            partition = assignment.partitions.get(log)
            if partition is None or partition.broker is not broker:
                continue  # stopped, or assigned to another broker meanwhile
            asked = partition.position
            if asked is not sent.get(log) or not self._has_records(partition, answer):
                continue  # moved meanwhile, or without records
            rest = self._read(partition, answer)
            while rest is not None:
                rest = await self._read_on(partition, answer, rest)
            if partition.position is not asked:
                advanced = True
                partition.failures = 0
                broker.touched[log] = None
            elif partition.broker is broker:
                cut_off.append(partition)
        if not advanced:  # brokers return the first batch whole, regardless of size limits
            for partition in cut_off:
                assignment.retry(partition, "the broker sends an incomplete batch")
        await self._deliver()
        return self._total

    def _read(
        self, partition: Partition, answer: Answer, batches: Iterator[Batch] | None = None
    ) -> Iterator[Batch] | None:
        """Decode batches up to a full slice or a large batch; return the remaining ones."""
        fresh, wanted = self._fresh, self._broker.wanted
        log, position = partition.log, partition.position
        contained = self._contained
        with contained:
            if batches is None:
                start, end = position.offset, answer.high_watermark
                batches = unpack(answer.records, start, end, answer.aborted, partition.skipped)
            for batch in batches:
                if batch is LARGE:
                    return batches
                # Move it to the end of the next full request: brokers fill responses in that order.
                del wanted[log]
                partition.position = wanted[log] = position = FetchPosition(
                    batch.following, position.leader_epoch, batch.epoch, position.topic_id
                )
                records = batch.records
                if log in fresh:
                    fresh[log] += records
                elif records:
                    fresh[log] = records
                self._count += len(records)
                self._work += len(records) + BATCH_WORK
                if self._work >= SLICE:
                    return batches
        if contained.failed:
            self._failed(partition)
        return None

    async def _read_on(
        self, partition: Partition, answer: Answer, batches: Iterator[Batch]
    ) -> Iterator[Batch] | None:
        """Deliver a full slice, or decode the large batch that follows; then `_read`."""
        position = partition.position
        if self._work >= SLICE:
            self._work = 0
            await self._deliver()
            await asyncio.sleep(0)
        else:
            with self._contained as contained:
                batch = await large_batch(batches)
                batches = iter(()) if batch is None else chain((batch,), batches)
            if contained.failed:
                self._failed(partition)
                return None
        if not partition.is_at(position, self._broker):
            return None
        return self._read(partition, answer, batches)

    def _failed(self, partition: Partition) -> None:
        """Fetch a partition again after an unexpected exception."""
        self._contained = self._assignment.contain(Part.PARTITION)
        self._assignment.retry(partition, UNEXPECTED)

    async def _deliver(self) -> None:
        """Deliver the decoded records."""
        if self._fresh:
            fresh, self._fresh = self._fresh, {}
            self._total += self._count
            self._count = 0
            await self._assignment.listener.deliver(fresh)

    def _has_records(self, partition: Partition, answer: Answer) -> bool:
        """Process a partition's answer except its records; return whether it has records."""
        error, node_id = answer.error, self._broker.node_id
        preferred = NONE if answer.preferred == node_id else answer.preferred
        if not error and preferred == NONE and answer.diverging is None:
            stable = answer.stable
            partition.end = answer.high_watermark if stable < 0 else stable
            partition.fault, partition.stalled = "", False
            if answer.records:
                return True
            partition.failures = 0  # with records: reset after decoding
            return False
        assignment, fault = self._assignment, describe(error)
        if partition.follower == node_id:
            assignment.retry(partition, fault)
        elif error == OUT_OF_RANGE or answer.diverging is not None:
            assignment.lose(partition, f"the log does not have offset {partition.position.offset}")
        elif error:
            if error not in MOVED and not partition.failures:
                _log.warning("partition cannot be read", log=log_name(partition.log), error=fault)
            assignment.cluster.request_refresh()
            assignment.retry(partition, fault)
            if error in UNKNOWN_TOPIC:
                assignment.listener.unknown_topic(partition.log)
        else:
            partition.follower = preferred
            partition.follower_until = clock.now().monotonic + FOLLOWER_SECONDS
            assignment.assign(partition)
        return False
