"""A worker's link to Kafka: finds and reads the topics, and reports readiness.

The worker is not ready, and reads nothing, until the topics are found. After that the clients
reconnect without limit, and a probe updates readiness every two seconds: whether a broker answers,
the topics exist, and the ACLs let this client read them.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import structlog
from aiokafka.errors import KafkaError

from gateway import clock
from gateway.core.partition_map import PartitionMap
from gateway.core.partitioner import key_hash
from gateway.errors import BrokerError
from gateway.kafka.client.cluster import ClusterClient
from gateway.kafka.client.error_codes import log_name
from gateway.kafka.client.options import connection_options
from gateway.kafka.compacted_topic import CompactedTopic
from gateway.kafka.context import ReaderContext
from gateway.kafka.diagnosis import explain
from gateway.kafka.health import RetentionWatch, TopicHealth, UnreadPartitions
from gateway.kafka.live_reader import LiveReader
from gateway.kafka.offsets import Offsets
from gateway.kafka.replay_reader import ReplayReader
from gateway.kafka.revocation_topic import RevocationFollower
from gateway.kafka.topic_watch import TopicWatch
from gateway.kafka.topics import answering, create_missing, missing_rights, topic_specs
from gateway.readiness import NotReadyReason
from gateway.supervise import Part, Supervisor, flat

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.config import Settings
    from gateway.core.feed import PartitionFeed
    from gateway.core.records import TopicPartition
    from gateway.core.request import StreamRequest
    from gateway.kafka.client.metadata import Cluster
    from gateway.kafka.revocation_events import RevocationEvents
    from gateway.metrics import Metrics
    from gateway.readiness import Readiness
    from gateway.schemas.cache import Schemas

RETRY_SECONDS = 1.0

PROBE_SECONDS = 2.0

SETTLE_SECONDS = 1.0
"""Interval between two checks of former partitions."""

_log = structlog.stdlib.get_logger(__name__)


class KafkaSession:
    """All Kafka tasks of a worker, behind one `run`."""

    def __init__(
        self,
        settings: Settings,
        revoking: RevocationEvents,
        metrics: Metrics,
        readiness: Readiness,
        schemas: Schemas | None = None,
    ) -> None:
        self._settings = settings
        self._hub = revoking.hub
        self._revoking = revoking
        self._metrics = metrics
        self._readiness = readiness
        self._supervisor = Supervisor(metrics)
        self._schemas = schemas
        self._options = connection_options(settings)
        if settings.revocations_topic:
            detail = f"the topic {settings.revocations_topic} has not been read whole yet"
            self._readiness.set_reason(NotReadyReason.REVOCATIONS, detail)
        self.cluster = ClusterClient(self._options, settings.kafka_client_rack or "", self._metrics)
        """The worker's client for metadata and offsets; started by `run`."""
        self.retention = RetentionWatch(settings, self.cluster)
        self._routes: PartitionMap | None = None
        self._live: LiveReader | None = None
        self._scans: ReplayReader | None = None
        self._watch: TopicWatch | None = None
        self._revocation_reader: CompactedTopic | None = None
        self.unread = UnreadPartitions(self._hub, self.cluster)
        self.health = TopicHealth(settings, self._options, self._readiness)
        self.connected = False

    async def run(self) -> None:
        """Read Kafka for as long as the task lives; may be called again after a failure."""
        try:
            await self._run()
        finally:
            await self.cluster.stop()

    async def _run(self) -> None:
        if self._live is None:
            self._build(await self._find_topics())
        else:  # after a failure: the hub keeps its streams, and these readers their state
            with suppress(KafkaError):  # the client retries in the background
                await self.cluster.start()
        assert self._live is not None
        assert self._scans is not None
        assert self._watch is not None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep(Part.LIVE, self._live.run))
                group.create_task(self._keep(Part.SCANS, self._scans.run))
                group.create_task(self._keep(Part.TOPICS, partial(self._probe, self._watch)))
                group.create_task(self._keep(Part.SWEEP, partial(self._settle_topics, self._watch)))
                group.create_task(self._keep(Part.RETENTION, self.retention.run))
                if self._schemas is not None and self._schemas.url:
                    watch = partial(self._schemas.watch, self.health.report_registry)
                    group.create_task(self._keep(Part.SCHEMAS, watch))
                if self._revocation_reader is not None:
                    group.create_task(self._keep(Part.REVOCATIONS, self._revocation_reader.run))
                    group.create_task(self._keep(Part.REVOCATIONS, self._revoking.run))
        finally:
            await self._live.stop()

    def _build(self, cluster: Cluster) -> None:
        """Build everything that reads the topics."""
        settings = self._settings
        topics = [cluster.topic(source) for source in settings.event_sources]
        self._routes = routes = PartitionMap(
            self._hub, topics, key_hash(settings.partitioner), settings.settle_seconds
        )
        context = ReaderContext(
            self.cluster,
            self._hub,
            Offsets(self.cluster),
            self._metrics,
            self._revoking,
            self._supervisor,
            self._schemas,
        )
        self._scans = ReplayReader(
            context,
            most=settings.replay_scans,
            max_age_ms=int(settings.replay_max_age_seconds * 1000),
            warm_ms=int(settings.tail_warm_seconds * 1000),
            warm_bytes=settings.tail_bytes // 2,
        )
        live = LiveReader(
            context,
            settings.live_delay_ms / 1000,
            activated=self._scans.warm,
            check_topics=self._check_topics,
        )
        self._revocation_reader = revocations = self._revocations_topic(cluster)
        self._watch = TopicWatch(routes, live, self.cluster, revocations)
        self._live = live  # the last one: everything is built

    async def _keep(self, part: Part, run: Callable[[], Awaitable[None]]) -> None:
        """Run a part until cancelled; restart it alone, with back-off, after a failure.

        A part handles Kafka errors internally. A Kafka error that it raises, alone or in an
        exception group, makes the worker not ready until the next probe succeeds.
        """

        async def attempt() -> None:
            try:
                await run()
            except* KafkaError as errors:
                error = flat(errors)[0]
                _log.warning("Kafka failed; restarted", part=str(part), error=str(error))
                self.health.doubt(NotReadyReason.KAFKA, str(await explain(error, self._options)))

        await self._supervisor.keep(part, attempt)

    def _revocations_topic(self, cluster: Cluster) -> CompactedTopic | None:
        topic = self._settings.revocations_topic
        if not topic:
            return None
        follower = RevocationFollower(
            topic,
            self._revoking,
            self._metrics,
            whole=lambda: self.health.settle(NotReadyReason.REVOCATIONS),
        )
        return CompactedTopic(self.cluster, cluster, follower, self._metrics)

    def shard(self, user: bytes) -> str:
        """Return the shard of a user's streams: the user's partition, in digits.

        The first user topic counts. Without one, all users have one shard.
        """
        assert self._routes is not None
        return str(self._routes.partition(user) or 0)

    async def agreed_shard(self, user: bytes, given: str) -> str:
        """Return a user's shard after a request has named a different one.

        The other shard may come from a worker with newer metadata, so this worker refreshes first;
        otherwise the two could redirect a client back and forth. While Kafka is unreachable, the
        given shard is accepted: neither worker can verify it.
        """
        if not self.connected:
            return given
        await self._check_topics()
        return self.shard(user)

    async def prepare(self, opening: StreamRequest, patience: float) -> None:
        """Start reading the partitions of a new stream if necessary.

        Waits for reading to start, at most `patience` seconds, or 0 while Kafka is unreachable. An
        id that does not match the known topics may come from a worker with newer metadata, so this
        worker refreshes first.
        """
        assert self._routes is not None
        assert self._live is not None
        feeds, strange = self._routes.find(opening, clock.now())
        if strange and self.connected:
            await self._check_topics()
            feeds = self._routes.feeds(opening, clock.now())
        tasks = [self._live.activate(feed) for feed in feeds if feed.tail is None]
        if tasks and self.connected:
            await asyncio.wait(tasks, timeout=patience)

    def feeds(self, opening: StreamRequest) -> tuple[PartitionFeed, ...]:
        """Return the feeds of a new stream as they are now, also if they are not read yet."""
        assert self._routes is not None
        return self._routes.feeds(opening, clock.now())

    def at_hand(self, opening: StreamRequest) -> tuple[PartitionFeed, ...] | None:
        """Return the feeds of a new stream if all are read and its id needs no refresh."""
        assert self._routes is not None
        feeds, strange = self._routes.find(opening, clock.now())
        return None if strange or any(feed.tail is None for feed in feeds) else feeds

    def wake(self, feed: PartitionFeed) -> None:
        """Scan a log soon; called by the hub."""
        if self._scans is not None:
            self._scans.wake(feed)

    def sweep(self) -> None:
        """Remove unused logs and expired revocations; call it about once a second."""
        if self._live is None:
            return
        contain = self._supervisor.contain
        with contain(Part.LIVE):
            self._live.sweep()
        with contain(Part.SWEEP):
            self.unread.update(self._live.faults())
        with contain(Part.REVOCATIONS):
            self._revoking.revocations.discard_expired(clock.now(), self._revoking.life)

    def lags(self) -> Mapping[TopicPartition, int]:
        """Return an upper bound of the unread records of each log that is read."""
        return {} if self._live is None else self._live.lags()

    def partition(self, user: bytes) -> int | None:
        """Return the partition of a user's events; None until the topics are found."""
        return None if self._routes is None else self._routes.partition(user)

    async def _find_topics(self) -> Cluster:
        """Return the cluster once all event topics exist and can be read."""
        settings = self._settings
        specs = [spec for spec in topic_specs(settings) if spec.name != settings.workers_topic]
        needed = [spec.name for spec in specs]
        while True:
            try:
                async with answering(self._options):
                    await self.cluster.start()
                    if settings.create_topics:
                        await create_missing(self.cluster, specs)
                    cluster = await self.cluster.describe(needed)
                    refused = await missing_rights(self.cluster, cluster, needed)
            except BrokerError as error:
                self.health.doubt(NotReadyReason.KAFKA, str(error))
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self._readiness.clear(NotReadyReason.KAFKA)
            missing = [name for name in needed if name not in cluster.partitions]
            if self.health.serves({*missing, *refused}):
                detail = "the worker has found its topics and begins to read"
                self._readiness.set_reason(NotReadyReason.STARTING, detail)
                self.health.report(missing, refused)
                return cluster
            self.health.report(missing, refused)
            # Kafka is reachable: the reason is now the topics
            self._readiness.clear(NotReadyReason.STARTING)
            await asyncio.sleep(RETRY_SECONDS)

    async def _probe(self, watch: TopicWatch) -> None:
        while True:
            try:
                async with asyncio.timeout(PROBE_SECONDS):
                    found = await watch.refresh()
                    refused = await missing_rights(self.cluster, found.cluster, watch.names())
            except (KafkaError, TimeoutError) as error:
                detail = f"Kafka does not answer: {str(error) or type(error).__name__}"
                if not self.connected:  # already unreachable: there is time for the cause
                    detail = str(await explain(error, self._options))
                self.connected = False
                self.health.doubt(NotReadyReason.KAFKA, detail)
            else:
                self.connected = True
                self.health.report(found.missing, refused)
                self._report_unread(bool(refused or found.missing))
            await clock.sleep_to_tick(PROBE_SECONDS)

    def _report_unread(self, explained: bool) -> None:
        """Set the worker not ready if a broker answers but no partition is read.

        A worker that reads some partitions still serves most users, and other workers would be
        affected in the same way.
        """
        unread = self.unread.reasons()
        followed = sum(bool(feed.streams) for feed in self._hub.feeds.values())
        if unread and not explained and len(unread) >= followed:
            log, reason = next(iter(unread.items()))
            detail = f"a broker answers, but no partition is read: {log_name(log)}: {reason}"
            self.health.doubt(NotReadyReason.KAFKA, detail)
            self.health.settle(NotReadyReason.STARTING)
        else:
            self.health.settle(NotReadyReason.KAFKA, NotReadyReason.STARTING)

    async def _settle_topics(self, watch: TopicWatch) -> None:
        """Remove former partitions that have settled, once a second."""
        while True:
            await clock.sleep_to_tick(SETTLE_SECONDS)
            assert self._routes is not None
            self._routes.settle(clock.now())
            await watch.move()

    async def _check_topics(self) -> None:
        """Refresh the topics now; give up after `PROBE_SECONDS`."""
        assert self._watch is not None
        with suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(PROBE_SECONDS):
                await self._watch.refresh()
