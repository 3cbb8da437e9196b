"""Dead letters: skipped records are written to a topic, for inspection and repair.

Delivery never waits for them: records are put in a bounded queue, and a task writes one after the
other. A record that does not fit into the queue is discarded and counted.

A worker writes a record once, as far as it remembers. Workers do not know of each other: each of
several that decode the same record may write it. Readers compare topic, partition and offset.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import structlog
from aiokafka.errors import KafkaConnectionError, KafkaError

from gateway.core.records import Record, TopicPartition, Unreadable, UnreadableReason
from gateway.errors import BrokerError, PublishError
from gateway.kafka.client.options import connection_options
from gateway.kafka.envelope import Message
from gateway.kafka.producer import Producer
from gateway.kafka.topics import create, dead_letter_topic
from gateway.supervise import Part, Supervisor

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.metrics import Metrics

MAX_BYTES = 8_388_608
"""Size of the queued records, with Python's overhead: some thousands of common size."""

MAX_REMEMBERED = 10_000
"""Records that are not written again by this worker, such as by a second replay."""

WRITE_SECONDS = 10.0
RETRY_SECONDS = 5.0

NOT_WRITTEN = frozenset({UnreadableReason.EMPTY})
"""Reasons that are not a fault: a tombstone is empty on purpose."""

PREFIX = "gateway."
"""Begins the names of the headers that are added."""

_log = structlog.stdlib.get_logger(__name__)


class _Letter(NamedTuple):
    message: Message
    size: int


class DeadLetters:
    """Writes skipped records to a topic; the settings exclude a topic that is read."""

    def __init__(self, settings: Settings, metrics: Metrics, supervisor: Supervisor) -> None:
        self._spec = dead_letter_topic(settings)
        self._create = settings.create_topics
        self._partitioner = settings.partitioner
        self._options = connection_options(settings)
        self._metrics = metrics
        self._contain = supervisor.contain
        self.queue: deque[_Letter] = deque()
        """Records that are not written yet."""
        self._size = 0
        self._remembered: dict[tuple[TopicPartition, int], None] = {}
        self._news = asyncio.Event()
        self._problem = ""

    def add(
        self, log: TopicPartition, record: Record, value: bytes | None, why: Unreadable
    ) -> None:
        """Queue a record that is skipped; `value` is its value as it was read from Kafka."""
        place = (log, record.offset)
        if why.reason in NOT_WRITTEN or place in self._remembered:
            return
        self._remembered[place] = None
        if len(self._remembered) > MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        if self._size + record.size > MAX_BYTES:
            self._metrics.dead_letter("discarded")
            return
        facts = {
            "reason": str(why.reason),
            "detail": why.detail,
            "topic": log.topic,
            "partition": str(log.partition),
            "offset": str(record.offset),
            "timestamp": str(record.timestamp),
        }
        headers = [
            *record.headers,
            *((PREFIX + name, each.encode()) for name, each in facts.items()),
        ]
        self.queue.append(_Letter(Message("", record.key, value, headers), record.size))
        self._size += record.size
        self._news.set()

    async def run(self) -> None:
        """Write queued records until the task is cancelled."""
        async with Producer(self._options, self._partitioner, WRITE_SECONDS) as producer:
            while True:
                if not self.queue:
                    self._news.clear()
                    await self._news.wait()
                    continue
                letter = self.queue[0]
                outcome = "discarded"  # an unexpected exception costs one record
                with self._contain(Part.DEAD_LETTERS):
                    outcome = await self._outcome(producer, letter.message)
                if not outcome:
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                self.queue.popleft()
                self._size -= letter.size
                with self._contain(Part.METRICS):
                    self._metrics.dead_letter(outcome)

    async def _outcome(self, producer: Producer, message: Message) -> str:
        """Return `written`, or `discarded` if Kafka rejects the record; empty: try again."""
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await (await producer.send(self._spec, message))
        except PublishError as error:  # the topic is missing
            self._report(str(error))
            await self._create_topic()
            return ""
        except (KafkaConnectionError, TimeoutError) as error:
            self._report(str(producer.explain(error)))
            return ""
        except KafkaError as error:
            self._report(str(producer.explain(error)))
            return "" if error.retriable else "discarded"
        self._report("")
        return "written"

    async def _create_topic(self) -> None:
        if self._create:
            try:
                await create(self._options, [self._spec])
            except BrokerError as error:
                self._report(str(error))

    def _report(self, problem: str) -> None:
        """Log a changed problem once."""
        if problem and problem != self._problem:
            _log.warning("dead letters not written; delivery is not affected", error=problem)
        self._problem = problem
