"""The compacted topic of worker statuses: writes this worker's, reads all.

Failures here never make a worker not ready. Without the topic, or an ACL on it, a worker logs the
problem once, with the command that fixes it, and checks again every few seconds.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from gateway import clock
from gateway.core.records import TopicPartition, UnreadableReason
from gateway.errors import BrokerError, PublishError
from gateway.fleet.status import Status, read_status, write_status
from gateway.kafka.client.cluster import ClusterClient
from gateway.kafka.client.options import connection_options
from gateway.kafka.compacted_topic import CompactedTopic
from gateway.kafka.diagnosis import missing_right
from gateway.kafka.envelope import Message
from gateway.kafka.fetch.partition import report_unreadable
from gateway.kafka.fetch.protocol import Limits
from gateway.kafka.producer import Producer
from gateway.kafka.topics import (
    connected,
    create_missing,
    creation_command,
    missing_rights,
    workers_topic,
)
from gateway.supervise import Part, Supervisor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.config import Settings
    from gateway.fleet.members import Fleet
    from gateway.kafka.client.metadata import Cluster
    from gateway.kafka.fetch.partition import Reports

LIMITS = Limits(wait_ms=1000, min_bytes=1 << 20)
"""The broker collects statuses for a second: a large fleet costs no more fetches."""

LOOK_SECONDS = 5.0
"""Period of the check whether the topic exists."""

WRITE_SECONDS = 5.0
"""Timeout of one write."""

LEAVE_SECONDS = 2.0
"""Timeout of a stopping worker's last status."""

_log = structlog.stdlib.get_logger(__name__)


class FleetTopic:
    """Writes this worker's status to the topic, and passes all statuses to `fleet`.

    A status that raises an unexpected exception is discarded; others are not affected.
    """

    part = Part.FLEET

    def __init__(self, settings: Settings, fleet: Fleet, reports: Reports) -> None:
        self._options = connection_options(settings)
        self._spec = workers_topic(settings)
        self.topic = self._spec.name
        self._create = settings.create_topics
        self._fleet = fleet
        self._reports = reports
        self._supervisor = Supervisor(reports)
        self._status: Status | None = None
        self._news = asyncio.Event()
        self._found: dict[bytes, tuple[TopicPartition, int, bytes]] = {}
        """The last status of each key, with its log and offset."""
        self._removed: set[bytes] = set()
        """Keys with a later tombstone."""
        self._whole = False
        self._written = False
        self.problem = ""
        """Why the fleet is not visible, and the remedy; empty if it is visible."""

    def publish(self, status: Status) -> None:
        """Write the status soon; it replaces a pending one."""
        self._status = status
        self._news.set()

    async def run(self) -> None:
        """Read and write for as long as the task lives."""
        client = ClusterClient(self._options, failures=self._reports)
        try:
            while True:
                cluster = await self._find()
                with suppress(KafkaError):  # the client retries in the background
                    await client.start()
                topic = CompactedTopic(client, cluster, self, self._reports, LIMITS)
                keep = partial(self._supervisor.keep, self.part)
                async with asyncio.TaskGroup() as group:
                    tasks = [
                        group.create_task(keep(topic.run)),
                        group.create_task(keep(self._write)),
                    ]
                    await self._watch(topic)
                    for task in tasks:
                        task.cancel()
        finally:
            await client.stop()

    async def publish_gone(self, status: Status) -> None:
        """Write a final status, then a tombstone; gives up after `LEAVE_SECONDS`."""
        if not self._written:
            return
        async with Producer(self._options, "murmur2", LEAVE_SECONDS) as producer:
            with suppress(KafkaError, PublishError, TimeoutError):
                async with asyncio.timeout(LEAVE_SECONDS):
                    await self._send(producer, status.worker, write_status(status))
                    await self._send(producer, status.worker, None)

    # Called by `CompactedTopic`.

    def begin(self) -> None:
        """Discard pending records."""
        self._found, self._removed = {}, set()
        self._whole = False

    def add(self, partition: int, records: Sequence[Any]) -> None:
        """Add records; only the last one of each key is kept."""
        log = TopicPartition(self.topic, partition)
        for record in records:
            key = record.key or b""
            if record.value is not None:
                self._found[key] = (log, record.offset, record.value)
                self._removed.discard(key)
            else:
                self._removed.add(key)
                if not self._whole:  # first read: a removed status is obsolete; later it is news
                    self._found.pop(key, None)

    async def apply(self) -> None:
        """Apply the pending records to the fleet."""
        now = clock.now().monotonic
        for key, (log, offset, value) in self._found.items():
            with self._supervisor.contain(self.part):
                status = read_status(key, value)
                if status is None:
                    report_unreadable(self._reports, log, offset, UnreadableReason.WRONG_SHAPE)
                else:
                    self._fleet.apply(status, now, whole=self._whole)
        for key in self._removed:
            with self._supervisor.contain(self.part):
                self._fleet.removed(key.decode(errors="replace"))
        self.begin()
        self._whole = True

    def failed(self, reason: str) -> None:
        """Log that the topic cannot be read."""
        _log.debug("fleet topic cannot be read; retried", error=reason)

    # Inside.

    async def _find(self) -> Cluster:
        """Return the cluster once the topic exists and this client may read it."""
        name = self.topic
        while True:
            try:
                async with connected(self._options) as client:
                    cluster = await client.describe([name])
                    refused = await missing_rights(client, cluster, [name])
                    if self._create and name not in (*cluster.partitions, *refused):
                        await create_missing(client, [self._spec])
                        continue
                if name in cluster.partitions and name not in refused:
                    self._say("")
                    return cluster
                if name in refused:
                    self._say(str(refused[name]))
                else:
                    command = creation_command(self._spec, self._options)
                    self._say(f"no topic {name}; create it with: {command}")
            except BrokerError as error:
                _log.debug("fleet topic cannot be looked up; retried", error=str(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def _watch(self, topic: CompactedTopic) -> None:
        """Return when the topic no longer exists."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            with suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    if not await topic.refresh():
                        return

    async def _write(self) -> None:
        async with Producer(self._options, "murmur2", WRITE_SECONDS) as producer:
            while True:
                await self._news.wait()
                self._news.clear()
                assert self._status is not None
                try:
                    await self._send(producer, self._status.worker, write_status(self._status))
                    for worker in self._fleet.forget():
                        await self._send(producer, worker, None)
                except TopicAuthorizationFailedError:
                    self._say(str(missing_right("Write", self.topic, self._options)))
                except (KafkaError, PublishError, TimeoutError) as error:
                    _log.debug("status not written; the next one is tried", error=str(error))
                else:
                    self._written = True
                    self._say("")

    async def _send(self, producer: Producer, worker: str, value: bytes | None) -> None:
        """Write a record and wait without limit, so that at most one is pending."""
        message = Message("", worker.encode(), value, [])
        await (await producer.send(self._spec, message))

    def _say(self, problem: str) -> None:
        """Log a changed problem once."""
        if problem and problem != self.problem:
            _log.warning("fleet status unavailable; streams are not affected", detail=problem)
        self.problem = problem
