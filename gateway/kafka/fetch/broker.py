"""Fetches partitions from one broker, over one connection and one fetch session.

A broker answers the requests of a connection in order and holds a fetch without new records. A
partition that is added meanwhile waits for the response, so the hold is short while partitions may
be added (`patient` is false). A second connection would avoid the wait but need a second session;
closing the connection would cost a login.

A cycle takes two turns of the event loop: the response is decoded and delivered in the turn in
which it arrives, and the next request is sent in the turn in which the pause ends.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog
from aiokafka.errors import KafkaError

from gateway import clock
from gateway.kafka.client.wakeup import Wakeup, sleep_until
from gateway.kafka.fetch.batches import LARGE, large_batch, unpack
from gateway.kafka.fetch.errors import MOVED, OUT_OF_RANGE, UNKNOWN_TOPIC, describe
from gateway.kafka.fetch.protocol import (
    API_KEY,
    NONE,
    FetchPosition,
    MalformedResponseError,
)
from gateway.kafka.fetch.session import RESTARTING, FetchSession
from gateway.kafka.pacer import Pacer
from gateway.kafka.records import log_name
from gateway.supervise import Part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.core.records import Record, TopicPartition
    from gateway.kafka.client.connection import Connection
    from gateway.kafka.fetch.batches import Batch
    from gateway.kafka.fetch.partition import Partition
    from gateway.kafka.fetch.protocol import Answer, Response
    from gateway.kafka.fetch.reader import FetchReader

REQUEST_SECONDS = 5.0
"""Timeout of a response, in addition to the hold."""

CHECK_SECONDS = 1.0
"""Upper bound of every wait, and the interval of the watchdog."""

FOLLOWER_SECONDS = 30.0
"""How long a follower is read before the leader is asked again: the replica set may change."""

THROTTLE_LOG_SECONDS = 60.0
"""Minimum interval of log lines about the throttling of one broker."""

SLICE = 500
"""Records delivered before a yield to the event loop: some milliseconds."""

LEAST_BACKOFF_SECONDS, MOST_BACKOFF_SECONDS = 0.05, 1.0

SOON_SECONDS = 0.005
"""An empty response within this time was not held by the broker: the reader pauses."""

UNEXPECTED = "unexpected exception, see the worker's log"

_log = structlog.stdlib.get_logger(__name__)


class BrokerReader:
    """Fetches a reader's partitions from one broker while `run` runs."""

    def __init__(self, node_id: int, reader: FetchReader) -> None:
        self.node_id = node_id
        self.answered = clock.now().monotonic
        """When the last response arrived."""
        self.fault = ""
        self._reader = reader
        self._wanted: dict[TopicPartition, FetchPosition] = {}
        self._touched: dict[TopicPartition, None] = {}
        """Partitions whose entry in `_wanted` has changed since the last request, in order."""
        self._unproven: set[TopicPartition] = set()
        self._connection: Connection | None = None
        self._session: FetchSession | None = None
        self._news = asyncio.Event()
        self._failures = 0
        self._throttle_logged = float("-inf")
        """When a throttled response was last logged."""

    # Called by the reader.

    def add(self, partition: Partition, *, unproven: bool) -> None:
        """Fetch a partition from its position on; `unproven`: this broker is its new leader."""
        log = partition.log
        partition.broker = self
        if unproven:
            self._unproven.add(log)
        self._wanted[log] = partition.position
        self._touched[log] = None
        self._news.set()

    def remove(self, log: TopicPartition) -> None:
        """Stop fetching a partition."""
        self._wanted.pop(log, None)
        self._touched[log] = None
        self._unproven.discard(log)

    def reconnect(self) -> None:
        """Open a new connection: the present one does not answer."""
        self.answered = clock.now().monotonic
        self.disconnect()
        self._news.set()

    def disconnect(self) -> None:
        """Close the connection, if any, and forget its session."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._session = None

    def covers(self, partition: Partition) -> bool:
        """Whether the last response was about a partition; it may omit an unchanged one."""
        session = self._session
        if session is None or partition.log not in session.positions:
            return False
        if partition.end == NONE:
            # Stopped and read again: the session would omit it while unchanged. Reset.
            session.lost()
            return False
        return True

    async def run(self) -> None:
        """Fetch for as long as the task lives."""
        loop = asyncio.get_running_loop()
        pacer = Pacer(self._reader.delay)
        late = 0.0
        while True:
            if not self._wanted:
                await self._wait()
                continue
            with self._reader.contain(Part.FETCH) as contained:
                try:
                    pause = await self._cycle(pacer, late)
                except (KafkaError, MalformedResponseError) as error:
                    self.fault = f"broker {self.node_id}: {str(error) or type(error).__name__}"
                    log = _log.debug if self._failures else _log.warning  # warn once
                    log("fetch failed", broker=self.node_id, error=self.fault)
                    pause = self._failed()
                else:
                    self._failures = 0
            if contained.failed:
                self.fault = UNEXPECTED
                self._abandon()
                pause = max(LEAST_BACKOFF_SECONDS, self._failed())
            due = loop.time() + pause
            if pause > 0:
                await sleep_until(due, loop)
            else:
                await asyncio.sleep(0)
            late = loop.time() - due

    # The partitions of a broker that has failed.

    def _abandon(self) -> None:
        """Call `lost` for all partitions: the delivered records are unknown."""
        for log in list(self._wanted):
            self._reader.lose(self._reader.partitions[log], UNEXPECTED)

    def _failed(self) -> float:
        """Read followers' partitions elsewhere; return the pause until the next attempt."""
        self.disconnect()
        self._reader.cluster.request_refresh()
        for log in list(self._wanted):
            partition = self._reader.partitions[log]
            if partition.follower == self.node_id:
                self._reader.retry(partition, self.fault)
            else:
                partition.fault = self.fault
        failures, self._failures = self._failures, min(self._failures + 1, 10)
        # Retry the first failure at once: brokers close idle connections.
        return min(MOST_BACKOFF_SECONDS, LEAST_BACKOFF_SECONDS * ((1 << failures) - 1))

    # A cycle.

    async def _wait(self) -> None:
        """Wait until there are partitions; a lost wake-up costs `CHECK_SECONDS`."""
        self._news.clear()
        if not self._wanted:
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._news.wait()

    async def _cycle(self, pacer: Pacer, late: float) -> float:
        """Fetch once, `late` seconds after the last pause; return the seconds of the next pause."""
        reader = self._reader
        connection, session = self._connection, self._session
        if connection is None or session is None or connection.closed:
            connection, session = await self._connect()
        if self._unproven:
            self._prove(session)
        if not self._wanted:
            return 0.0
        loop = asyncio.get_running_loop()
        asked = loop.time()
        limits = reader.limits
        touched, self._touched = self._touched, {}
        request = session.request(self._wanted, limits, reader.rack(), touched)
        answered = Wakeup[bytes](loop)
        timeout = limits.wait_ms / 1000 + REQUEST_SECONDS
        connection.request_for(answered, API_KEY, session.version, request, timeout)
        body = await answered
        began = loop.time()
        response = session.receive(body)
        throttled = response.throttle_ms / 1000
        if throttled:
            self._log_throttled(throttled)
        if response.error in RESTARTING:
            self.fault = f"broker {self.node_id}: {describe(response.error)}"
            return max(LEAST_BACKOFF_SECONDS, throttled)
        if response.error:
            raise MalformedResponseError(describe(response.error))
        self.answered = clock.now().monotonic + throttled
        self.fault = ""
        if await self._process(session, response):
            pause = pacer.pause(loop.time() - began, late)
        else:
            pause = SOON_SECONDS if began - asked < SOON_SECONDS else 0.0
        return max(pause, throttled)

    async def _connect(self) -> tuple[Connection, FetchSession]:
        self.disconnect()
        connection = await self._reader.cluster.connect(self.node_id)
        try:
            session = FetchSession(connection.versions.get(API_KEY, (0, 0)))
        except MalformedResponseError:
            connection.close()
            raise
        self._connection, self._session = connection, session
        return connection, session

    def _prove(self, session: FetchSession) -> None:
        """Call `unproven` for partitions whose new leader, this broker, cannot compare epochs."""
        while self._unproven:
            log = self._unproven.pop()
            position = self._reader.partitions[log].position
            if position.offset and (not session.checks_epochs or position.last_epoch == NONE):
                self._reader.listener.unproven(log)

    def _log_throttled(self, seconds: float) -> None:
        now = clock.now().monotonic
        if now - self._throttle_logged >= THROTTLE_LOG_SECONDS:
            self._throttle_logged = now
            remedy = "raise the quota consumer_byte_rate or request_percentage of this client"
            _log.warning("fetches throttled", broker=self.node_id, seconds=seconds, remedy=remedy)

    async def _process(self, session: FetchSession, response: Response) -> int:
        """Deliver the records of a response; return how many there were."""
        reader, wanted = self._reader, self._wanted
        partitions, sent = reader.partitions, session.positions
        total = count = 0
        cut_off: list[Partition] = []
        advanced = False
        fresh: dict[TopicPartition, list[Record]] = {}
        contained = reader.contain(Part.PARTITION)
        for answer in response.answers:
            log = answer.log
            partition = partitions.get(log)
            if partition is None or partition.broker is not self:
                continue  # stopped, or assigned to another broker meanwhile
            asked = position = partition.position
            if asked is not sent.get(log) or not self._has_records(partition, answer):
                continue  # moved meanwhile, or without records
            end, aborted = answer.high_watermark, answer.aborted
            batches: Iterator[Batch] | None = None
            more = True
            while more:
                more = False
                with contained:
                    batches = batches or unpack(
                        answer.records, asked.offset, end, aborted, partition.skipped
                    )
                    for each in batches:
                        batch = each
                        if each is LARGE:
                            decoded = await large_batch(batches)
                            if decoded is None or not partition.is_at(position, self):
                                break
                            batch = decoded
                        # Move it to the end of the next full request: brokers fill responses in
                        # request order.
                        del wanted[log]
                        partition.position = wanted[log] = position = FetchPosition(
                            batch.following, asked.leader_epoch, batch.epoch, asked.topic_id
                        )
                        records = batch.records
                        if log in fresh:
                            fresh[log] += records
                        elif records:
                            fresh[log] = records
                        count += len(records)
                        if count >= SLICE:
                            more = True
                            break
                if more:
                    await reader.listener.deliver(fresh)
                    total, count, fresh = total + count, 0, {}
                    await asyncio.sleep(0)
                    more = partition.is_at(position, self)
            if contained.failed:
                contained = reader.contain(Part.PARTITION)
                reader.retry(partition, UNEXPECTED)
            if partition.position is not asked:
                advanced = True
                partition.failures = 0
                self._touched[log] = None
            elif partition.broker is self:
                cut_off.append(partition)
        if not advanced:  # brokers return the first batch whole, regardless of size limits
            for partition in cut_off:
                reader.retry(partition, "the broker sends an incomplete batch")
        if fresh:
            await reader.listener.deliver(fresh)
        return total + count

    def _has_records(self, partition: Partition, answer: Answer) -> bool:
        """Process a partition's answer except its records; return whether it has records."""
        error, preferred, stable = answer.error, answer.preferred, answer.stable
        if not error and answer.diverging is None and preferred in (NONE, self.node_id):
            partition.end = answer.high_watermark if stable < 0 else stable
            partition.fault, partition.stalled = "", False
            if answer.records:
                return True
            partition.failures = 0  # with records: reset after decoding
            return False
        reader, fault = self._reader, describe(error)
        if partition.follower == self.node_id:
            reader.retry(partition, fault)
        elif error == OUT_OF_RANGE or answer.diverging is not None:
            reader.lose(partition, f"the log does not have offset {partition.position.offset}")
        elif error:
            if error not in MOVED and not partition.failures:
                _log.warning("partition cannot be read", log=log_name(partition.log), error=fault)
            reader.cluster.request_refresh()
            reader.retry(partition, fault)
            if error in UNKNOWN_TOPIC:
                reader.listener.unknown_topic(partition.log)
        else:
            partition.follower = preferred
            partition.follower_until = clock.now().monotonic + FOLLOWER_SECONDS
            reader.assign(partition)
        return False
