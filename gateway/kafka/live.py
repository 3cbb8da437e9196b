"""The live reader: one consumer for all logs of a worker, reading only those with streams.

All partitions are assigned once, by hand, without a group and without commits, and paused; the
first stream of a log seeks to its end and resumes it, and a while after the last one has left it is
paused again. (aiokafka's `assign()` forgets every position, so it is called once.)
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import CorruptRecordException, KafkaError, OffsetOutOfRangeError

from gateway import clock
from gateway.core.log import Log, Position
from gateway.core.pacer import Pacer
from gateway.kafka.consumer import Consumer
from gateway.kafka.records import log_name, to_records

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from gateway.core.hub import Hub
    from gateway.core.log import Record
    from gateway.core.stream import Feed
    from gateway.kafka.offsets import Offsets
    from gateway.kafka.revoking_events import RevokingEvents
    from gateway.kafka.screen import Unreadable

TOGETHER_SECONDS = 0.005
"""How long a log waits for others, so that those of one stream are in the first fetch together."""

GRACE_SECONDS = 30.0
"""How long a log without streams is still read: a client that reconnects finds its tail."""

IDLE_MS = 60_000
"""How long to wait for records before the wait is begun anew; nothing hangs on it."""

RETRY_SECONDS = 0.5

_log = structlog.stdlib.get_logger(__name__)


class LiveReader:
    """Reads what is new into the hub.

    `activated` is told of each log that begins to be read. `look` is called, and waited for, when a
    log does not have the position it was read at: its topic may be another one. `read` is told how
    many records each batch has.
    """

    def __init__(
        self,
        options: dict[str, Any],
        hub: Hub,
        offsets: Offsets,
        delay: float,
        activated: Callable[[Feed], None],
        look: Callable[[], Awaitable[object]],
        unreadable: Unreadable,
        revoking: RevokingEvents,
        read: Callable[[int], None],
    ) -> None:
        self._hub = hub
        self._offsets = offsets
        self._pacer = Pacer(delay)
        self._activated = activated
        self._look = look
        self._revoking = revoking
        self._read = read
        self._activations: dict[Feed, asyncio.Task[None]] = {}
        self._idle_since: dict[Feed, float] = {}
        self._reading: set[TopicPartition] = set()
        self._resuming: asyncio.TimerHandle | None = None
        self._unproven: set[Feed] = set()
        """Logs with a new leader, that is to show the tail's last record before any other."""
        self._consumer = Consumer(
            options,
            auto_offset_reset="none",
            isolation_level="read_committed",
            unreadable=unreadable,
        )

    async def start(self) -> None:
        """Connect, and take the hub's logs, none of which is read yet."""
        await self._consumer.start()
        self._consumer.take(self._hub.feeds)
        self._consumer.watch_leaders(self._doubt)

    def take(self) -> None:
        """Take the logs that the hub has now; those that are read go on where they are."""
        self._consumer.take(self._hub.feeds)
        self._consumer.patient = len(self._reading) == len(self._hub.feeds)
        self._rewind()
        self._consumer.resume(*self._reading)
        self.sweep()

    async def stop(self) -> None:
        """Disconnect."""
        for task in list(self._activations.values()):
            task.cancel()
        if self._resuming is not None:
            self._resuming.cancel()
        await asyncio.gather(*self._activations.values(), return_exceptions=True)
        await self._consumer.stop()

    async def run(self) -> None:
        """Move records into the hub for as long as the task lives."""
        while True:
            try:
                batches = await self._consumer.getmany(timeout_ms=IDLE_MS)
            except OffsetOutOfRangeError as error:
                await self._leave(error.args[0])
                continue
            except CorruptRecordException:
                self._rewind()  # now what is fetched is looked through
                continue
            except KafkaError as error:
                _log.warning("fetch failed", error=str(error) or type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
                self._rewind()
                continue
            if batches:
                await self._take(batches)

    async def _take(self, batches: dict[TopicPartition, list[Any]]) -> None:
        """Dispatch what was fetched, then let records gather where there are many.

        They gather at the broker: aiokafka would fetch again at once, and the records would grow
        old in its buffer. So its fetches are held before its task gets a turn.
        """
        moment = clock.now()
        count = sum([len(records) for records in batches.values()])
        self._read(count)
        pause = self._pacer.pause(count, moment.monotonic)
        fresh = {Log(*partition): to_records(records) for partition, records in batches.items()}
        self._prove(fresh)
        revoked = self._revoking.find(fresh)
        self._hub.dispatch(fresh, moment)
        if pause:
            self._consumer.hold_until(clock.now().monotonic + pause)
        while self._hub.delivering:  # no more is fetched until all of it is on its way
            await asyncio.sleep(0)
            self._hub.step(clock.now())
        self._revoking.revoke(revoked, moment)
        if pause:
            await asyncio.sleep(pause)

    def activate(self, feed: Feed) -> asyncio.Task[None]:
        """Begin to read a log, if nobody does yet; the task ends when it is read."""
        task = self._activations.get(feed)
        if task is None:
            task = asyncio.create_task(self._activate(feed))
            self._activations[feed] = task
            task.add_done_callback(lambda _: self._activations.pop(feed, None))
        return task

    def lags(self) -> dict[Log, int]:
        """Return how many records, at most, the brokers have and the tails have not."""
        lags = {}
        for feed in self._hub.feeds.values():
            if feed.tail is not None:
                highwater = self._consumer.highwater(TopicPartition(*feed.log))
                lags[feed.log] = max(0, (highwater or 0) - feed.tail.head.offset)
        return lags

    def sweep(self) -> None:
        """Stop reading logs whose last stream left a while ago; to be called now and then.

        And read those that have streams: one may have come to a log just as it was let go.
        """
        now = clock.now().monotonic
        for feed in self._hub.feeds.values():
            if feed.streams and feed.tail is None:
                self.activate(feed)
            if feed.streams or feed.tail is None:
                self._idle_since.pop(feed, None)
            elif now - self._idle_since.setdefault(feed, now) >= GRACE_SECONDS:
                del self._idle_since[feed]
                self.stop_reading(feed)

    def stop_reading(self, feed: Feed) -> None:
        """Read a log no more, if it is read; its tail is forgotten."""
        if feed.tail is None:
            return
        partition = TopicPartition(*feed.log)
        self._reading.discard(partition)
        self._consumer.patient = False
        self._unproven.discard(feed)
        self._consumer.pause(partition)
        self._hub.deactivate(feed)

    async def _activate(self, feed: Feed) -> None:
        while feed.tail is None and self._hub.feeds.get(feed.log) is feed:
            topic = feed.topic
            try:
                end = await self._offsets.end(feed.log)
            except KafkaError as error:
                _log.debug("log does not tell its end", log=log_name(feed.log), error=str(error))
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if feed.topic.tag != topic.tag:  # then it is the end of a log that is gone
                continue
            moment = clock.now()
            partition = TopicPartition(*feed.log)
            self._consumer.seek(partition, end)
            self._reading.add(partition)
            self._consumer.patient = len(self._reading) == len(self._hub.feeds)
            if self._resuming is None:
                loop = asyncio.get_running_loop()
                self._resuming = loop.call_later(TOGETHER_SECONDS, self._resume)
            self._hub.activate(feed, Position(end, moment.wall, False), moment)
            self._activated(feed)

    async def _leave(self, partitions: Iterable[TopicPartition]) -> None:
        """Begin again in logs that do not have the position they were read at."""
        tails = {
            feed: feed.tail
            for feed in [self._hub.feeds[Log(*partition)] for partition in partitions]
        }
        await self._look()
        for feed, tail in tails.items():
            if tail is not None and feed.tail is tail:
                self._restart(feed)

    def _resume(self) -> None:
        self._resuming = None
        self._consumer.resume(*self._reading)

    def _restart(self, feed: Feed) -> None:
        """Begin again at the end of a log that does not have the position it was read at.

        Its streams go by what is known of the log now: each is brought up, or told of a gap.
        """
        _log.warning("log does not go on where it was read", log=log_name(feed.log))
        self.stop_reading(feed)
        self.activate(feed)

    def _doubt(self, partition: TopicPartition) -> None:
        """Let a log's new leader show first that it has the last record that the old one gave.

        Where Kafka was allowed to elect a leader that lacks records, others take their offsets.
        """
        feed = self._hub.feeds[Log(*partition)]
        if feed.tail is None:
            return
        if feed.tail.head.seen:
            self._unproven.add(feed)
            self._seek(feed, feed.tail.head.offset - 1)
        else:
            self._restart(feed)

    def _prove(self, fresh: dict[Log, list[Record]]) -> None:
        """Take the last record again out of what new leaders sent; restart a log without it."""
        for feed in [feed for feed in self._unproven if feed.log in fresh]:
            self._unproven.discard(feed)
            assert feed.tail is not None
            first, *rest = fresh.pop(feed.log)
            if feed.tail.head != Position.after(first):
                self._restart(feed)
            elif rest:
                fresh[feed.log] = rest

    def _rewind(self) -> None:
        """Fetch anew what follows the tails: with an error, aiokafka drops what it had read."""
        for feed in self._hub.feeds.values():
            if feed.tail is not None:
                self._seek(feed, feed.tail.head.offset - (feed in self._unproven))

    def _seek(self, feed: Feed, offset: int) -> None:
        self._consumer.seek(TopicPartition(*feed.log), offset)
