"""Fetches partitions from one broker, over one connection and one fetch session.

A broker answers the requests of a connection in order and holds a fetch without new records. A
partition that is added meanwhile waits for the response, so the hold is short while partitions may
be added (`patient` is false). A second connection would avoid the wait but need a second session;
closing the connection would cost a login.

A cycle takes two turns of the event loop: the response is decoded and delivered in the turn in
which it arrives, and the next request is sent in the turn in which the pause ends.

Pacing: at low load the broker holds the fetch and the worker delivers an event at once. Under load
many small fetches would use up the CPU, so records gather at the broker between fetches. The pause
is a multiple of the time that the last cycle took and of the time by which the event loop was late
for it: an idle worker fetches again almost at once, an overloaded one pauses up to the bound.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import structlog
from aiokafka.errors import KafkaError

from gateway import clock
from gateway.kafka.client.backoff import LEAST_BACKOFF_SECONDS, backoff_seconds
from gateway.kafka.client.error_codes import describe
from gateway.kafka.client.wakeup import Wakeup, sleep_until
from gateway.kafka.fetch.answers import UNEXPECTED, AnswerReader
from gateway.kafka.fetch.protocol import (
    API_KEY,
    NONE,
    FetchPosition,
    MalformedResponseError,
)
from gateway.kafka.fetch.session import RESTARTING, FetchSession
from gateway.supervise import Part

if TYPE_CHECKING:
    from gateway.core.records import TopicPartition
    from gateway.kafka.client.connection import Connection
    from gateway.kafka.fetch.assignment import Assignment
    from gateway.kafka.fetch.partition import Partition
    from gateway.kafka.fetch.protocol import Limits

REQUEST_SECONDS = 5.0
"""Timeout of a response, in addition to the hold."""

CHECK_SECONDS = 1.0
"""Upper bound of every wait, and the interval of the watchdog."""

THROTTLE_LOG_SECONDS = 60.0
"""Minimum interval of log lines about the throttling of one broker."""

PACE = 2.0
"""Seconds of pause for each second of a cycle: a reader uses at most a third of a core before
records gather. A lower share saves CPU only where producers write evenly; see
docs/performance.md, "Pacing"."""

SOON_SECONDS = 0.005
"""An empty response within this time was not held by the broker: the reader pauses."""

_log = structlog.stdlib.get_logger(__name__)


class Pacing(Protocol):
    """How fast a reader fetches."""

    delay: float
    """Upper bound of the pause between two fetches, in seconds."""

    @property
    def limits(self) -> Limits:
        """The limits of the next request."""


class BrokerReader:
    """Fetches a reader's partitions from one broker while `run` runs."""

    def __init__(self, node_id: int, assignment: Assignment, pacing: Pacing) -> None:
        self.node_id = node_id
        self.answered = clock.now().monotonic
        self.fault = ""
        self._assignment = assignment
        self._pacing = pacing
        self.wanted: dict[TopicPartition, FetchPosition] = {}
        self.touched: dict[TopicPartition, None] = {}
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
        self.wanted[log] = partition.position
        self.touched[log] = None
        self._news.set()

    def remove(self, log: TopicPartition) -> None:
        """Stop fetching a partition."""
        self.wanted.pop(log, None)
        self.touched[log] = None
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
        late = 0.0
        while True:
            if not self.wanted:
                await self._wait()
                continue
            with self._assignment.contain(Part.FETCH) as contained:
                try:
                    pause = await self._cycle(late)
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
        for log in list(self.wanted):
            self._assignment.lose(self._assignment.partitions[log], UNEXPECTED)

    def _failed(self) -> float:
        """Read followers' partitions elsewhere; return the pause until the next attempt."""
        self.disconnect()
        self._assignment.cluster.request_refresh()
        for log in list(self.wanted):
            partition = self._assignment.partitions[log]
            if partition.follower == self.node_id:
                self._assignment.retry(partition, self.fault)
            else:
                partition.fault = self.fault
        failures, self._failures = self._failures, self._failures + 1
        # Retry the first failure at once: brokers close idle connections.
        return backoff_seconds(failures - 1) if failures else 0.0

    # A cycle.

    async def _wait(self) -> None:
        """Wait until there are partitions; a lost wake-up costs `CHECK_SECONDS`."""
        self._news.clear()
        if not self.wanted:
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._news.wait()

    async def _cycle(self, late: float) -> float:
        """Fetch once, `late` seconds after the last pause; return the seconds of the next pause."""
        connection, session = self._connection, self._session
        if connection is None or session is None or connection.closed:
            connection, session = await self._connect()
        if self._unproven:
            self._prove(session)
        if not self.wanted:
            return 0.0
        loop = asyncio.get_running_loop()
        asked = loop.time()
        limits = self._pacing.limits
        touched, self.touched = self.touched, {}
        request = session.request(self.wanted, limits, self._assignment.rack(), touched)
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
        answers = AnswerReader(self, self._assignment, session.positions)
        if await answers.run(response.answers):
            spent = loop.time() - began
            pause = min(self._pacing.delay, PACE * (spent + late))
        else:
            pause = SOON_SECONDS if began - asked < SOON_SECONDS else 0.0
        return max(pause, throttled)

    async def _connect(self) -> tuple[Connection, FetchSession]:
        self.disconnect()
        connection = await self._assignment.cluster.connect(self.node_id)
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
            position = self._assignment.partitions[log].position
            if position.offset and (not session.checks_epochs or position.last_epoch == NONE):
                self._assignment.listener.unproven(log)

    def _log_throttled(self, seconds: float) -> None:
        now = clock.now().monotonic
        if now - self._throttle_logged >= THROTTLE_LOG_SECONDS:
            self._throttle_logged = now
            remedy = "raise the quota consumer_byte_rate or request_percentage of this client"
            _log.warning("fetches throttled", broker=self.node_id, seconds=seconds, remedy=remedy)
