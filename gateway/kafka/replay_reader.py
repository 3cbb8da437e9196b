"""Replay scans: read old records on separate connections, a few logs at a time.

A scan never delays live reading: it has its own connection, processes records in small batches, and
yields to the event loop between them.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import structlog
from aiokafka.errors import KafkaError

from gateway import clock
from gateway.core.records import RECORD_OVERHEAD
from gateway.kafka.client.error_codes import log_name
from gateway.kafka.context import topic_id
from gateway.kafka.fetch.partition import report_unreadable
from gateway.kafka.fetch.scanner import LogScanner
from gateway.supervise import FIRST_SECONDS, LONGEST_SECONDS, Part

if TYPE_CHECKING:
    from gateway.core.feed import PartitionFeed
    from gateway.core.scan import Scan
    from gateway.kafka.context import ReaderContext
    from gateway.kafka.revocation_events import Revoked

STALL_SECONDS = 10.0
"""A scan without progress for this long is aborted and retried."""

RETRY_SECONDS = 1.0

_log = structlog.stdlib.get_logger(__name__)


class ReplayReader:
    """Runs the scans that the hub requests by `wake`, at most `most` concurrently."""

    def __init__(
        self,
        context: ReaderContext,
        *,
        most: int,
        max_age_ms: int,
        warm_ms: int,
        warm_bytes: int,
    ) -> None:
        self._supervisor = context.supervisor
        self._contain = context.supervisor.contain
        self._schemas = context.schemas
        self._cluster = context.cluster
        self._hub = context.hub
        self._offsets = context.offsets
        self._metrics = context.metrics
        self._revoking = context.revoking
        self._most = most
        self._max_age_ms = max_age_ms
        self._warm_ms = warm_ms
        self._warm_bytes = warm_bytes
        self._queue: asyncio.Queue[PartitionFeed] = asyncio.Queue()
        self._queued: set[PartitionFeed] = set()
        self._cold: set[PartitionFeed] = set()
        self._admissions: set[asyncio.Task[None]] = set()
        self._pauses: dict[PartitionFeed, float] = {}
        """Back-off in seconds of logs whose last scan raised an unexpected exception."""

    def wake(self, feed: PartitionFeed) -> None:
        """Scan the log soon, for the streams that are waiting then; cheap to repeat."""
        if feed not in self._queued and feed.tail is not None and feed not in self._hub.scans:
            self._queued.add(feed)
            self._ask_in(feed)

    def warm(self, feed: PartitionFeed) -> None:
        """Scan the log soon to fill its tail, after live reading has started."""
        if self._warm_ms:
            self._cold.add(feed)
            self.wake(feed)

    async def run(self) -> None:
        """Scan for as long as the task lives; may be called again."""
        self._queue = asyncio.Queue()
        self._queued.clear()
        for feed in self._hub.feeds.values():
            if feed.waiting or feed in self._cold:
                self.wake(feed)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._most):
                    group.create_task(self._supervisor.keep(Part.SCANS, self._work))
        finally:
            for task in self._admissions:
                task.cancel()

    def _ask_in(self, feed: PartitionFeed, delay: float = 0) -> None:
        task = asyncio.create_task(self._admit(feed, delay))
        self._admissions.add(task)
        task.add_done_callback(self._admissions.discard)

    async def _admit(self, feed: PartitionFeed, delay: float) -> None:
        """Put the log in the queue once its leader answers.

        Otherwise a log without a reachable leader would occupy a scan slot.
        """
        await asyncio.sleep(delay)
        while feed.tail is not None:
            with self._contain(Part.SCAN), suppress(KafkaError, TimeoutError):
                await self._offsets.end(feed.log)
                break
            await asyncio.sleep(RETRY_SECONDS)
        self._queue.put_nowait(feed)

    async def _work(self) -> None:
        """Take logs from the queue and scan them, for as long as the task lives."""
        scanner = LogScanner(self._cluster, partial(report_unreadable, self._metrics))
        try:
            while True:
                feed = await self._queue.get()
                with self._contain(Part.SCAN) as contained:
                    await self._attempt(scanner, feed)
                if contained.failed:
                    scanner.close()  # the next scan opens new connections
                    pause = self._pauses.get(feed, FIRST_SECONDS)
                    self._pauses[feed] = min(2 * pause, LONGEST_SECONDS)
                    self._ask_in(feed, pause)
        finally:
            scanner.close()

    async def _attempt(self, scanner: LogScanner, feed: PartitionFeed) -> None:
        """Scan a log; retry after a pause if Kafka fails."""
        try:
            await self._scan(scanner, feed)
        except (KafkaError, TimeoutError) as error:
            _log.warning(
                "replay interrupted",
                log=log_name(feed.log),
                error=str(error) or "no answer",
            )
            # The log stays in `_queued` meanwhile, so that `wake` does not start it earlier.
            self._ask_in(feed, RETRY_SECONDS)
        else:
            self._pauses.pop(feed, None)

    async def _scan(self, scanner: LogScanner, feed: PartitionFeed) -> None:
        wanted = feed.tail is not None and (feed.waiting or feed in self._cold)
        if not wanted or feed in self._hub.scans:  # the hub wakes again when a scan has ended
            self._queued.discard(feed)
            return
        started = clock.now()
        scan = self._hub.begin_scan(feed)
        cold = feed in self._cold
        self._cold.discard(feed)
        revoked: Revoked = []
        try:
            cutoff = max(0, started.wall - self._max_age_ms)
            scan.begin(await self._offsets.extent(feed.log, cutoff))
            if cold:
                await self._warm(feed, scan, started.wall)
            found = await self._offsets.located(feed.log, scan.times)
            end = scan.extent.end
            located = {time: end if offset is None else offset for time, offset in found.items()}
            while not scan.located:
                self._hub.advance(scan.locate(located), clock.now())
                await asyncio.sleep(0)
            await self._read(scanner, feed, scan, revoked)
            self._queued.discard(feed)
            self._hub.end_scan(feed, clock.now())
            while self._hub.scans.get(feed) is scan:
                await asyncio.sleep(0)
                self._hub.step(clock.now())
        except (KafkaError, TimeoutError):
            if cold:
                self._cold.add(feed)
            raise
        finally:
            moment = clock.now()
            if self._hub.scans.get(feed) is scan:
                self._hub.end_scan(feed, moment)
            self._revoking.revoke(revoked, moment)
            with self._contain(Part.METRICS):
                self._count(scan, moment.monotonic - started.monotonic)

    def _count(self, scan: Scan, seconds: float) -> None:
        if scan.records:
            self._metrics.replayed(seconds, scan.summary)

    async def _warm(self, feed: PartitionFeed, scan: Scan, wall: int) -> None:
        offset = await self._offsets.at(feed.log, max(0, wall - self._warm_ms))
        # Include at least the newest record, which confirms or refutes an id at the head.
        start = scan.end - 1 if offset is None else min(offset, scan.end - 1)
        # Keep at most a fair share of memory: the largest tail is trimmed first.
        tails = sum(feed.tail is not None for feed in self._hub.feeds.values())
        room = self._warm_bytes // max(1, tails)
        scan.warm(max(start, scan.end - room // RECORD_OVERHEAD), room)

    async def _read(
        self, scanner: LogScanner, feed: PartitionFeed, scan: Scan, revoked: Revoked
    ) -> None:
        if not scan.reading:
            return
        pinned = topic_id(self._cluster, feed.topic)
        place = -1
        moved = clock.now().monotonic
        while scan.reading:
            if not scan.skip():
                await asyncio.sleep(0)
                continue
            if scan.position != place:
                scanner.seek(feed.log, scan.position, pinned)
            fetched, position = await scanner.fetch(scan.run)
            place = position
            now = clock.now()
            if position > scan.position:
                moved = now.monotonic
            elif now.monotonic - moved > STALL_SECONDS:
                raise TimeoutError(f"nothing came for {STALL_SECONDS:g} s")
            if self._schemas is not None:
                missing = self._schemas.missing(feed.log.topic, fetched)
                await self._schemas.settle(missing)
            revoked += self._revoking.find({feed.log: fetched})
            picked = scan.pick(fetched)
            if self._schemas is not None:
                await self._schemas.read_ahead(feed.log.topic, picked)
            scan.feed(picked, position)
            self._hub.advance(scan.harvest(), now)
            await asyncio.sleep(0)
