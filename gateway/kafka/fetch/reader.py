"""Reads partitions from all brokers, with one task and one connection per broker.

`read` starts reading a partition at an offset, `stop` ends it; the listener gets each record once,
in order. Brokers do not wait for each other. A partition with an error is fetched again after a
pause and does not delay other partitions.

| from a broker | what the reader does |
| --- | --- |
| records | delivers them and fetches what follows |
| preferred replica (KIP-392) | reads there for `FOLLOWER_SECONDS`, then asks the leader again |
| any error or silence of a follower | reads from leaders only for `FOLLOWER_SECONDS` |
| offset out of range, or a diverging epoch (KIP-320) | stops the partition, calls `lost` |
| a new leader that cannot compare epochs | calls `unproven` before it fetches from that leader |
| unknown topic id | calls `unknown_topic`, retries |
| not leader, fenced or unknown epoch, no leader | refreshes the metadata, retries |
| another error: no permission, disk failure | retries; `faults` reports the error |
| no response in time, a broken connection, a malformed response | reconnects |
| records that raise an unexpected exception | fetches that partition again, with back-off |
| another unexpected exception | calls `lost` for the broker's partitions and reconnects |

A broker answers the requests of a connection in order and holds a fetch without new records. A
partition that is added meanwhile waits for the response, so the hold is short while partitions may
be added (`patient` is false). A second connection would avoid the wait but need a second session;
closing the connection would cost a login.

Every wait times out after `CHECK_SECONDS`, and the watchdog checks each partition as often: if no
response has covered a partition for `STALL_SECONDS`, the watchdog logs and counts the stall and
reconnects to the broker.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog
from aiokafka.errors import KafkaError

from gateway import clock
from gateway.kafka.fetch.batches import LARGE, unpack
from gateway.kafka.fetch.errors import MOVED, OUT_OF_RANGE, UNKNOWN_TOPIC, describe
from gateway.kafka.fetch.protocol import (
    API_KEY,
    NONE,
    FetchPosition,
    Limits,
    MalformedResponseError,
)
from gateway.kafka.fetch.session import RESTARTING, FetchSession
from gateway.kafka.fetch.state import Broker, Partition
from gateway.kafka.pacer import Pacer
from gateway.kafka.records import log_name
from gateway.supervise import Containment, Part

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.records import Record, TopicPartition, UnreadableReason
    from gateway.kafka.client.cluster import ClusterClient
    from gateway.kafka.client.connection import Connection
    from gateway.kafka.fetch.listener import Listener, Reports
    from gateway.kafka.fetch.protocol import Answer, Response

HOLD_MS = 100
"""How long a broker holds a fetch without new records while partitions may be added."""

PATIENT_HOLD_MS = 500
"""The same while all partitions are read. Each empty response costs some 0.2 ms."""

REQUEST_SECONDS = 5.0
"""Timeout of a response, in addition to the hold."""

CHECK_SECONDS = 1.0
"""Upper bound of every wait, and the interval of the watchdog."""

STALL_SECONDS = 10.0
"""A partition without a response for this long is stalled: twice the maximum time of a fetch."""

FOLLOWER_SECONDS = 30.0
"""How long a follower is read before the leader is asked again: the replica set may change."""

THROTTLE_LOG_SECONDS = 60.0
"""Minimum interval of log lines about the throttling of one broker."""

SLICE = 500
"""Records delivered before a yield to the event loop: some milliseconds."""

POSTPONED_SECONDS = 0.1
"""Pause of a partition whose next records cannot be used yet."""

LEAST_BACKOFF_SECONDS, MOST_BACKOFF_SECONDS = 0.05, 1.0

SOON_SECONDS = 0.005
"""An empty response within this time was not held by the broker: the reader pauses."""

UNEXPECTED = "unexpected exception, see the worker's log"

_log = structlog.stdlib.get_logger(__name__)


class FetchReader:
    """Reads partitions for a listener while `run` runs.

    `delay` bounds pacing, in seconds. `patient`: no partition will be added soon.
    """

    def __init__(
        self,
        cluster: ClusterClient,
        listener: Listener,
        reports: Reports,
        *,
        delay: float = 0.0,
        limits: Limits | None = None,
    ) -> None:
        self.patient = False
        self._cluster = cluster
        self._listener = listener
        self._reports = reports
        self._delay = delay
        self._limits = limits
        self._partitions: dict[TopicPartition, Partition] = {}
        self._brokers: dict[int, Broker] = {}
        self._group: asyncio.TaskGroup | None = None
        self._leaders_only_until = float("-inf")
        """Set when a follower fails: leaders keep naming the follower for some time."""

    # Called by the owner.

    def read(
        self, log: TopicPartition, offset: int, topic_id: bytes = b"", last_epoch: int = NONE
    ) -> None:
        """Read a partition from an offset; moves a partition that is already being read.

        With a `topic_id`, a recreated topic is reported and not read. `last_epoch` is the leader
        epoch of the record before the offset, if known: brokers compare it with their log.
        """
        former = self._partitions.get(log)
        self.stop(log)
        position = FetchPosition(offset, last_epoch=last_epoch, topic_id=topic_id)
        partition = Partition(log, position, self._unreadable)
        if former is not None:  # so that `_place` detects a change of leader
            partition.leader = former.leader
        self._partitions[log] = partition
        self._place(partition)

    def seek(self, log: TopicPartition, offset: int) -> None:
        """Move a partition that is being read to another offset."""
        self.read(log, offset, self._partitions[log].position.topic_id)

    def postpone(self, log: TopicPartition, offset: int, fault: str) -> None:
        """Fetch a partition again from `offset`, after `POSTPONED_SECONDS`.

        For records that the listener cannot use yet; other partitions are read meanwhile.
        """
        partition = self._partitions.get(log)
        if partition is not None:
            self._detach(partition)
            partition.position = partition.position._replace(offset=offset)
            partition.fault = fault
            loop = asyncio.get_running_loop()
            partition.retry = loop.call_later(POSTPONED_SECONDS, self._again, partition)

    def stop(self, log: TopicPartition) -> None:
        """Stop reading a partition, if it is read; records in flight are discarded."""
        partition = self._partitions.pop(log, None)
        if partition is not None:
            self._detach(partition)

    def position(self, log: TopicPartition) -> int | None:
        """Return the offset that is fetched next; None: the partition is not read."""
        partition = self._partitions.get(log)
        return None if partition is None else partition.position.offset

    def end(self, log: TopicPartition) -> int | None:
        """Return the last stable offset in the last response; None before the first one."""
        partition = self._partitions.get(log)
        return None if partition is None or partition.end == NONE else partition.end

    def lag(self, log: TopicPartition) -> int:
        """Return an upper bound of the records between the position and the log end."""
        partition = self._partitions.get(log)
        return 0 if partition is None else max(0, partition.end - partition.position.offset)

    def faults(self) -> Mapping[TopicPartition, str]:
        """Return the reason for each partition that is currently not read."""
        return {log: each.fault for log, each in self._partitions.items() if each.fault}

    async def run(self) -> None:
        """Read for as long as the task lives."""
        forget = self._cluster.on_change(self._place_all)
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for broker in self._brokers.values():
                    group.create_task(self._serve(broker))
                while True:
                    self._place_all()
                    with self._contain(Part.FETCH):
                        self._watch()
                    await asyncio.sleep(CHECK_SECONDS)
        finally:
            forget()
            self._group = None
            for partition in self._partitions.values():
                self._detach(partition)
            for broker in self._brokers.values():
                broker.disconnect()
            self._partitions.clear()
            self._brokers.clear()

    # Assignment of partitions to brokers.

    def _place_all(self) -> None:
        for partition in list(self._partitions.values()):
            with self._contain(Part.PARTITION):
                self._place(partition)

    def _place(self, partition: Partition) -> None:
        """Assign a partition to its current leader or preferred follower."""
        if partition.lost:
            return
        log, position = partition.log, partition.position
        leader = self._cluster.leader(log)
        if leader is None:
            self._detach(partition)
            partition.fault = "the partition has no leader"
            self._cluster.request_refresh()
            return
        is_new = leader != partition.leader
        if partition.retry is not None and not is_new:
            return  # assigned after its pause
        if is_new or clock.now().monotonic >= partition.follower_until:
            partition.follower = NONE
        node_id = leader.node_id if partition.follower == NONE else partition.follower
        broker = self._brokers.get(node_id) or self._add(node_id)
        if partition.broker is broker and not is_new:
            return
        self._detach(partition)
        if is_new and partition.leader is not None:
            broker.unproven.add(log)
        partition.leader = leader
        # A new object, so that late responses of the former broker are ignored.
        partition.position = position._replace(leader_epoch=leader.epoch)
        partition.broker = broker
        partition.since = clock.now().monotonic
        broker.wanted[log] = partition.position
        broker.touched[log] = None
        broker.news.set()

    def _add(self, node_id: int) -> Broker:
        broker = self._brokers[node_id] = Broker(node_id)
        if self._group is not None:
            self._group.create_task(self._serve(broker))
        return broker

    def _detach(self, partition: Partition) -> None:
        if partition.retry is not None:
            partition.retry.cancel()
            partition.retry = None
        broker, partition.broker = partition.broker, None
        if broker is not None:
            broker.wanted.pop(partition.log, None)
            broker.touched[partition.log] = None
            broker.unproven.discard(partition.log)

    def _retry(self, partition: Partition, fault: str) -> None:
        """Fetch a partition again after a pause that grows with each failure."""
        if partition.follower != NONE:
            self._leaders_only_until = clock.now().monotonic + FOLLOWER_SECONDS
        partition.follower = NONE
        partition.fault = fault
        self._detach(partition)
        delay = min(MOST_BACKOFF_SECONDS, LEAST_BACKOFF_SECONDS * (1 << partition.failures))
        partition.failures = min(partition.failures + 1, 10)
        loop = asyncio.get_running_loop()
        partition.retry = loop.call_later(delay, self._again, partition)

    def _again(self, partition: Partition) -> None:
        partition.retry = None
        if self._partitions.get(partition.log) is partition:
            self._place(partition)

    def _watch(self) -> None:
        """Report partitions that no response covers, and reconnect to their brokers."""
        now = clock.now().monotonic
        for partition in list(self._partitions.values()):
            broker, since = partition.broker, partition.since
            if broker is not None and broker.session is not None and broker.covers(partition.log):
                if partition.end == NONE:
                    # Stopped and read again: the session would omit it while unchanged. Reset.
                    broker.session.lost()
                else:
                    since = max(since, broker.answered)
            if now - since < STALL_SECONDS:
                continue
            fault = partition.fault
            if broker is not None:
                fault = broker.fault or f"broker {broker.node_id} does not answer"
                broker.answered = now
                broker.disconnect()
                broker.news.set()
            partition.since = now
            partition.fault = fault
            if not partition.stalled:
                partition.stalled = True
                self._listener.stalled(partition.log, fault)

    # One broker.

    async def _serve(self, broker: Broker) -> None:
        """Fetch from one broker for as long as the task lives."""
        loop = asyncio.get_running_loop()
        pacer = Pacer(self._delay)
        late = 0.0
        while True:
            if not broker.wanted:
                await self._wait(broker)
                continue
            with self._contain(Part.FETCH) as contained:
                try:
                    pause = await self._cycle(broker, pacer, late)
                except (KafkaError, MalformedResponseError) as error:
                    broker.fault = f"broker {broker.node_id}: {str(error) or type(error).__name__}"
                    log = _log.debug if broker.failures else _log.warning  # warn once
                    log("fetch failed", broker=broker.node_id, error=broker.fault)
                    pause = self._failed(broker)
                else:
                    broker.failures = 0
            if contained.failed:
                broker.fault = UNEXPECTED
                self._abandon(broker)
                pause = max(LEAST_BACKOFF_SECONDS, self._failed(broker))
            due = loop.time() + pause
            await asyncio.sleep(pause)
            late = loop.time() - due

    def _abandon(self, broker: Broker) -> None:
        """Call `lost` for all partitions of a broker: the delivered records are unknown."""
        for log in list(broker.wanted):
            partition = self._partitions[log]
            partition.lost = True
            partition.fault = UNEXPECTED
            self._detach(partition)
            self._listener.lost(log)

    async def _wait(self, broker: Broker) -> None:
        """Wait until the broker has partitions; a lost wake-up costs `CHECK_SECONDS`."""
        broker.news.clear()
        if not broker.wanted:
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_SECONDS):
                    await broker.news.wait()

    def _failed(self, broker: Broker) -> float:
        """Read followers' partitions elsewhere; return the pause until the next attempt."""
        broker.disconnect()
        self._cluster.request_refresh()
        for log in list(broker.wanted):
            partition = self._partitions[log]
            if partition.follower == broker.node_id:
                self._retry(partition, broker.fault)
            else:
                partition.fault = broker.fault
        failures, broker.failures = broker.failures, min(broker.failures + 1, 10)
        # Retry the first failure at once: brokers close idle connections.
        return min(MOST_BACKOFF_SECONDS, LEAST_BACKOFF_SECONDS * ((1 << failures) - 1))

    async def _cycle(self, broker: Broker, pacer: Pacer, late: float) -> float:
        """Fetch once, `late` seconds after the last pause; return the seconds of the next pause."""
        connection, session = await self._connected(broker)
        self._prove(broker, session)
        if not broker.wanted:
            return 0.0
        loop = asyncio.get_running_loop()
        asked = loop.time()
        limits = self._limits or Limits(PATIENT_HOLD_MS if self.patient else HOLD_MS)
        near = clock.now().monotonic >= self._leaders_only_until
        rack = self._cluster.rack if near else ""
        touched, broker.touched = broker.touched, {}
        request = session.request(broker.wanted, limits, rack, touched)
        timeout = limits.wait_ms / 1000 + REQUEST_SECONDS
        body = await connection.request(API_KEY, session.version, request, timeout)
        began = loop.time()
        response = session.receive(body)
        throttled = response.throttle_ms / 1000
        if throttled and began - broker.throttle_logged >= THROTTLE_LOG_SECONDS:
            broker.throttle_logged = began
            remedy = "raise the quota consumer_byte_rate or request_percentage of this client"
            _log.warning(
                "fetches throttled", broker=broker.node_id, seconds=throttled, remedy=remedy
            )
        if response.error in RESTARTING:
            broker.fault = f"broker {broker.node_id}: {describe(response.error)}"
            return max(LEAST_BACKOFF_SECONDS, throttled)
        if response.error:
            raise MalformedResponseError(describe(response.error))
        broker.answered = clock.now().monotonic + throttled
        broker.fault = ""
        count = await self._take(broker, session, response)
        if count:
            pause = pacer.pause(loop.time() - began, late)
        else:
            pause = SOON_SECONDS if began - asked < SOON_SECONDS else 0.0
        return max(pause, throttled)

    async def _connected(self, broker: Broker) -> tuple[Connection, FetchSession]:
        connection, session = broker.connection, broker.session
        if connection is None or session is None or connection.closed:
            broker.disconnect()
            connection = await self._cluster.connect(broker.node_id)
            versions = connection.versions.get(API_KEY, (0, 0))
            try:
                session = FetchSession(versions)
            except MalformedResponseError:
                connection.close()
                raise
            broker.connection, broker.session = connection, session
        return connection, session

    def _prove(self, broker: Broker, session: FetchSession) -> None:
        """Call `unproven` for new leaders that cannot compare epochs."""
        while broker.unproven:
            log = broker.unproven.pop()
            partition = self._partitions[log]
            _, _, last_epoch, _ = position = partition.position
            if position.offset and (not session.checks_epochs or last_epoch == NONE):
                self._listener.unproven(log)

    async def _take(self, broker: Broker, session: FetchSession, response: Response) -> int:
        """Process a response; return how many records it had."""
        total = count = 0
        cut_off: list[Partition] = []
        advanced = False
        fresh: dict[TopicPartition, list[Record]] = {}
        contained = self._contain(Part.PARTITION)
        for answer in response.answers:
            log = answer.log
            partition = self._partitions.get(log)
            if partition is None or partition.broker is not broker:
                continue  # stopped, or assigned to another broker meanwhile
            asked = partition.position
            if asked is not session.asked(log):
                continue  # moved meanwhile
            if not self._is_read(partition, broker, answer):
                continue
            # Move it to the end of the next full request: brokers fill responses in request order.
            del broker.wanted[log]
            broker.wanted[log] = asked
            broker.touched[log] = None
            batches = unpack(
                answer.records,
                asked.offset,
                answer.high_watermark,
                answer.aborted,
                partition.skipped,
            )
            position = asked
            while True:
                batch = None
                with contained:
                    batch = next(batches, None)
                    if batch is LARGE:
                        batch = await asyncio.to_thread(next, batches, None)
                        if partition.position is not position or partition.broker is not broker:
                            break
                if batch is None:
                    break
                position = FetchPosition(
                    batch.following, asked.leader_epoch, batch.epoch, asked.topic_id
                )
                partition.position = broker.wanted[log] = position
                records = batch.records
                if not records:
                    continue
                if log in fresh:
                    fresh[log] += records
                else:
                    fresh[log] = records
                count += len(records)
                if count >= SLICE:
                    await self._listener.deliver(fresh)
                    total, count, fresh = total + count, 0, {}
                    await asyncio.sleep(0)
                    if partition.position is not position or partition.broker is not broker:
                        break
            if contained.failed:
                contained = self._contain(Part.PARTITION)
                self._retry(partition, UNEXPECTED)
            if partition.position is not asked:
                advanced = True
                partition.failures = 0
            elif partition.broker is broker:
                cut_off.append(partition)
        if not advanced:  # brokers return the first batch whole, regardless of size limits
            for partition in cut_off:
                self._retry(partition, "the broker sends an incomplete batch")
        if fresh:
            await self._listener.deliver(fresh)
        return total + count

    def _is_read(self, partition: Partition, broker: Broker, answer: Answer) -> bool:
        """Process a partition's answer except its records; return whether it has records."""
        error = answer.error
        if not error and answer.diverging is None and answer.preferred in {NONE, broker.node_id}:
            partition.end = answer.high_watermark if answer.stable < 0 else answer.stable
            partition.fault, partition.stalled = "", False
            if not answer.records:
                partition.failures = 0  # with records: reset after decoding
            return bool(answer.records)
        fault = describe(error)
        if partition.follower == broker.node_id:
            self._retry(partition, fault)
        elif error == OUT_OF_RANGE or answer.diverging is not None:
            partition.lost = True
            partition.fault = f"the log does not have offset {partition.position.offset}"
            self._detach(partition)
            self._listener.lost(partition.log)
        elif error:
            if error not in MOVED and not partition.failures:
                _log.warning("partition cannot be read", log=log_name(partition.log), error=fault)
            self._cluster.request_refresh()
            self._retry(partition, fault)
            if error in UNKNOWN_TOPIC:
                self._listener.unknown_topic(partition.log)
        else:
            partition.follower = answer.preferred
            partition.follower_until = clock.now().monotonic + FOLLOWER_SECONDS
            self._place(partition)
        return False

    def _contain(self, part: Part) -> Containment:
        return Containment(part, self._reports)

    def _unreadable(self, log: TopicPartition, offset: int, reason: UnreadableReason) -> None:
        with self._contain(Part.METRICS):
            self._reports.unreadable(log, offset, reason)
