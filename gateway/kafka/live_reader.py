"""The live reader: moves new records of all logs with streams into the hub.

The first stream of a log starts reading at its end; reading stops `GRACE_SECONDS` after the last
stream has left. `gateway.kafka.fetch.reader` fetches the records.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from aiokafka.errors import KafkaError

from gateway import clock
from gateway.core.records import OffsetPosition
from gateway.kafka.client.error_codes import log_name
from gateway.kafka.context import topic_id
from gateway.kafka.fetch.reader import FetchReader
from gateway.supervise import Part

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.core.feed import PartitionFeed
    from gateway.core.records import Record, TopicPartition
    from gateway.kafka.context import ReaderContext
    from gateway.schemas.cache import Schemas
    from gateway.schemas.framing import SchemaId

GRACE_SECONDS = 30.0
"""How long a log is read after its last stream: a client that reconnects finds its tail."""

RETRY_SECONDS = 0.5

LOOKUP_SECONDS = 15.0
"""Upper bound of an offset lookup with retries; the client's own limits are shorter."""

SCHEMA_PATIENCE_SECONDS = 0.05
"""How long all partitions of a broker wait for schemas; then only those without a schema wait."""

_log = structlog.stdlib.get_logger(__name__)


class LiveReader:
    """Reads new records into the hub.

    `delay` bounds pacing, in seconds. `activated` is called for each log when reading starts.
    `check_topics` is awaited when a log lacks the position, or its topic id is unknown: the topic
    may have been recreated.
    """

    def __init__(
        self,
        context: ReaderContext,
        delay: float,
        activated: Callable[[PartitionFeed], None],
        check_topics: Callable[[], Awaitable[object]],
    ) -> None:
        self._cluster = context.cluster
        self._hub = context.hub
        self._offsets = context.offsets
        self._metrics = context.metrics
        self._revoking = context.revoking
        self._contain = context.supervisor.contain
        self._schemas = context.schemas
        self._activated = activated
        self._check_topics = check_topics
        self._activations: dict[PartitionFeed, asyncio.Task[None]] = {}
        self._checks: set[asyncio.Task[None]] = set()
        self._idle_since: dict[PartitionFeed, float] = {}
        self._unproven: set[PartitionFeed] = set()
        """Logs whose new leader must first return the last record of the tail."""
        self._reader = FetchReader(self._cluster, self, self._metrics, delay=delay)

    async def stop(self) -> None:
        """Cancel the tasks that run outside of `run`."""
        tasks = [*self._activations.values(), *self._checks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def run(self) -> None:
        """Move records into the hub for as long as the task lives; may be called again.

        Reading of all logs stops at the end; `sweep` activates logs with streams again.
        """
        try:
            await self._reader.run()
        finally:
            for feed in self._hub.feeds.values():
                with self._contain(Part.PARTITION):  # `sweep` repeats it after an exception
                    self.stop_reading(feed)

    def activate(self, feed: PartitionFeed) -> asyncio.Task[None]:
        """Start reading a log, unless it is read; the task ends once reading has started."""
        task = self._activations.get(feed)
        if task is None:
            task = asyncio.create_task(self._activate(feed))
            self._activations[feed] = task
            task.add_done_callback(lambda _: self._activations.pop(feed, None))
        return task

    def lags(self) -> dict[TopicPartition, int]:
        """Return an upper bound of each log's unread records."""
        return {
            feed.log: self._reader.lag(feed.log)
            for feed in self._hub.feeds.values()
            if feed.tail is not None
        }

    def faults(self) -> dict[TopicPartition, str]:
        """Return the reason for each log with streams that is currently not read."""
        return dict(self._reader.faults())

    def sweep(self) -> None:
        """Stop reading logs without streams for `GRACE_SECONDS`; call it periodically.

        Also activates logs with streams: a stream may open just as reading stops. A tail whose log
        is not read is discarded first.
        """
        now = clock.now().monotonic
        for feed in self._hub.feeds.values():
            with self._contain(Part.PARTITION):
                self._sweep(feed, now)
        self._reader.patient = all(feed.tail is not None for feed in self._hub.feeds.values())

    def _sweep(self, feed: PartitionFeed, now: float) -> None:
        if feed.tail is not None and self._reader.position(feed.log) is None:
            # A failure between both: no record would reach the tail any more.
            self.stop_reading(feed)
        if feed.streams and feed.tail is None:
            self.activate(feed)
        if feed.streams or feed.tail is None:
            self._idle_since.pop(feed, None)
        elif now - self._idle_since.setdefault(feed, now) >= GRACE_SECONDS:
            del self._idle_since[feed]
            self.stop_reading(feed)

    def stop_reading(self, feed: PartitionFeed) -> None:
        """Stop reading a log, if it is read, and discard its tail."""
        if feed.tail is None:
            return
        self._reader.patient = False
        self._reader.stop(feed.log)
        self._unproven.discard(feed)
        self._hub.deactivate(feed)

    def stop_topic(self, name: str) -> None:
        """Stop reading the logs of a topic."""
        for feed in [feed for feed in self._hub.feeds.values() if feed.log.topic == name]:
            self.stop_reading(feed)

    # Called by the fetch reader.

    async def deliver(self, fresh: dict[TopicPartition, list[Record]]) -> None:
        """Dispatch the next records of some logs; return when all are dispatched.

        After an unexpected exception these logs are not read until the next `sweep`. Their streams
        keep their cursors, and a scan replays the missed records.
        """
        logs = list(fresh)
        with self._contain(Part.PARTITION) as contained:
            if self._schemas is not None:
                await self._hold_back(self._schemas, fresh)
            moment = clock.now()
            with self._contain(Part.METRICS):
                self._metrics.read(fresh)
            if self._unproven:
                self._prove(fresh)
            revoked = self._revoking.find(fresh)
            self._hub.dispatch(fresh, moment)
            while self._hub.delivering:
                await asyncio.sleep(0)
                self._hub.step(clock.now())
            self._revoking.revoke(revoked, moment)
        if contained.failed:
            for log in logs:
                feed = self._hub.feeds.get(log)
                if feed is not None:  # a topic may have been removed meanwhile
                    self.stop_reading(feed)

    def lost(self, log: TopicPartition) -> None:
        """Check the topic, then restart at the log end unless it was recreated."""
        self._begin_check(self._hub.feeds[log])

    def unknown_topic(self, log: TopicPartition) -> None:
        """Check the topics, unless a check is running."""
        del log
        if not self._checks:
            self._begin_check(None)

    def unproven(self, log: TopicPartition) -> None:
        """Fetch the last record of the tail again from the new leader.

        After an unclean election the leader may lack records and reuse their offsets.
        """
        feed = self._hub.feeds[log]
        if feed.tail is None:
            return
        if feed.tail.head.seen:
            self._unproven.add(feed)
            self._reader.seek(log, feed.tail.head.offset - 1)
        else:
            self._restart(feed)

    def stalled(self, log: TopicPartition, reason: str) -> None:
        """Log and count a stalled log."""
        with self._contain(Part.METRICS):
            _log.warning("partition stalled", log=log_name(log), reason=reason)
            self._metrics.stalled()

    # Internal.

    async def _hold_back(self, schemas: Schemas, fresh: dict[TopicPartition, list[Record]]) -> None:
        """Remove records from `fresh` that wait for a schema, and all later ones.

        A stream may need any of them later, from the tail, when it is too late to wait. A schema is
        fetched once, so this costs one request for each schema and not for each record.

        Their partitions are fetched again soon; the records do not wait a second time once the
        schema is known, or its request has failed. A registry answers in milliseconds, so all
        partitions wait that long, and records are not fetched twice as a rule. Large values are
        read in a thread before they enter a tail.
        """

        def missing() -> dict[TopicPartition, dict[SchemaId, int]]:
            found = {log: schemas.missing(log.topic, records) for log, records in fresh.items()}
            return {log: needed for log, needed in found.items() if needed}

        feeds = self._hub.feeds
        tails = {log: feeds[log].tail for log in fresh}

        def drop_stopped() -> None:
            for log, tail in tails.items():
                if log not in feeds or feeds[log].tail is not tail:  # stopped or restarted
                    fresh.pop(log, None)

        if waiting := missing():
            wanted = {schema for needed in waiting.values() for schema in needed}
            await schemas.settle(wanted, patience=SCHEMA_PATIENCE_SECONDS)
            drop_stopped()
            for log, needed in missing().items():
                first = min(needed.values())
                self._reader.postpone(log, first, "waits for a schema of the registry")
                fresh[log] = [record for record in fresh[log] if record.offset < first]
                if not fresh[log]:
                    del fresh[log]
        for log, records in list(fresh.items()):
            if await schemas.read_ahead(log.topic, records):
                drop_stopped()

    async def _activate(self, feed: PartitionFeed) -> None:
        with self._contain(Part.PARTITION) as contained:
            await self._activate_now(feed)
        if contained.failed:  # the next sweep retries
            self.stop_reading(feed)

    async def _activate_now(self, feed: PartitionFeed) -> None:
        while feed.tail is None and self._hub.feeds.get(feed.log) is feed:
            topic = feed.topic
            try:
                async with asyncio.timeout(LOOKUP_SECONDS):
                    end, epoch = await self._offsets.end_and_epoch(feed.log)
                pinned = topic_id(self._cluster, topic)
            except (KafkaError, TimeoutError) as error:
                _log.debug("log does not tell its end", log=log_name(feed.log), error=str(error))
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if feed.topic.tag != topic.tag:  # recreated meanwhile: the end is of the former log
                continue
            moment = clock.now()
            self._reader.read(feed.log, end, pinned, epoch)
            self._hub.activate(feed, OffsetPosition(end, moment.wall, False), moment)
            self._activated(feed)

    def _begin_check(self, feed: PartitionFeed | None) -> None:
        task = asyncio.create_task(self._check(feed))
        self._checks.add(task)
        task.add_done_callback(self._checks.discard)

    async def _check(self, feed: PartitionFeed | None) -> None:
        tail = None if feed is None else feed.tail
        with self._contain(Part.TOPICS):
            await self._check_topics()
        if feed is not None and tail is not None and feed.tail is tail:
            with self._contain(Part.PARTITION):
                self._restart(feed)

    def _restart(self, feed: PartitionFeed) -> None:
        """Restart at the end of a log that cannot be read from its position.

        A scan replays the missed records to each stream, or the stream gets a gap event.
        """
        _log.warning("partition restarts at its end", log=log_name(feed.log))
        self.stop_reading(feed)
        self.activate(feed)

    def _prove(self, fresh: dict[TopicPartition, list[Record]]) -> None:
        """Remove the repeated last record from new leaders' records; restart on mismatch."""
        for feed in [feed for feed in self._unproven if feed.log in fresh]:
            self._unproven.discard(feed)
            assert feed.tail is not None
            first, *rest = fresh.pop(feed.log)
            if feed.tail.head != OffsetPosition.after(first):
                self._restart(feed)
            elif rest:
                fresh[feed.log] = rest
