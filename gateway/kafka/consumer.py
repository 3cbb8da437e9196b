"""aiokafka's consumer, made to bear a broker that is silent or gone: everything for that is here.

aiokafka shares more between brokers than it seems, so that one that is away holds up what the
others have to say (its issues 399, 612 and 496 are how users meet it):

- one lock for all new connections: a frozen broker, whose kernel still accepts, keeps it until the
  request times out. Here each broker has a lock of its own;
- metadata is asked of one broker after the other, with a whole timeout for each, and questions for
  offsets wait for it. Here the next broker is asked soon, and the first answer counts;
- questions for offsets wait for metadata that is under way, as it always is while a leader is away.
  Here they go by the leaders that are known; a wrong one says so;
- with all brokers away it tries to connect without a pause: measured on three killed ones, 11,900
  times a second, on a whole core. Here there is a pause between two looks at them, and that makes
  20 times a second, on a hundredth of one.

It has no truncation detection either (KIP-320): `watch_leaders` is what takes its place. Its
requests for metadata would make a topic anew that somebody has just deleted: those here do not. And
it cannot get past a batch that it cannot read: `gateway.kafka.screen` keeps those from it.
"""

from __future__ import annotations

import asyncio
import time
from itertools import chain
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import ConnectionGroup
from aiokafka.errors import (
    CorruptRecordException,
    KafkaConnectionError,
    KafkaError,
    OffsetOutOfRangeError,
)
from aiokafka.protocol.fetch import FetchRequest

from gateway.kafka.client.brokers import BrokerClient
from gateway.kafka.metadata import TopicsRequest, read_cluster
from gateway.kafka.screen import FAULTS, ignore, screen
from gateway.kafka.unpacked import EVERYTHING, Unpacked

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from gateway.core.log import Log
    from gateway.kafka.metadata import Cluster
    from gateway.kafka.screen import Unreadable

REQUEST_MS = 5000
"""How long a broker may be silent on a request until its connection is given up, and the leaders
are looked up anew. aiokafka's default, 40 s, is how long streams would hear nothing of a partition
whose leader is frozen, long after Kafka has found another one."""

REFRESH_MS = 5000
"""How often the leaders are looked up without a reason to. When Kafka takes a partition from a
broker that is frozen, nothing else tells until a request to that one times out."""

IDLE_MS = 5000
"""How long aiokafka's fetch task may sleep where nothing wakes it: what it waits for does. Its
default, 200 ms, costs a tenth of a percent of a core in each consumer that has partitions."""

QUIET_WAIT_MS = 2000
"""How long a broker holds a fetch that finds nothing, once nothing has come for a while, in a
consumer that is `patient`; else it is aiokafka's default, 500 ms. Every return costs some 0.7 ms of
CPU. Long before a request times out, and short beside what an election takes: a partition that
moves to a broker which holds a fetch is fetched when that one returns."""

QUIET_FETCHES = 8
"""So many in a row brought nothing: 4 s. The embedded broker, which polls, answers later then."""

STOP_SECONDS = 2.0
"""How long a consumer may take to stop. While aiokafka's fetch task ends the requests of a former
assignment it swallows the cancellation that `stop` sends it, and would be waited for without end;
a second one ends it."""

SCREEN_SECONDS = 10.0
"""How long what is fetched is looked through after something in it could not be read."""

NO_LEADER = (None, -1)
"""What aiokafka says where nobody leads a partition."""


class Consumer(AIOKafkaConsumer):  # type: ignore[misc] # aiokafka ships no type information
    """A consumer without a group; `options` are those of `connection_options`.

    `unreadable` is told of what was fetched and is left out of what is returned.
    """

    def __init__(
        self,
        options: dict[str, Any],
        *,
        unreadable: Unreadable = ignore,
        refresh_ms: int = REFRESH_MS,
        **settings: Any,
    ) -> None:
        super().__init__(
            **options,
            enable_auto_commit=False,
            request_timeout_ms=REQUEST_MS,
            consumer_timeout_ms=IDLE_MS,
            **settings,
        )
        self._unpacked = Unpacked()
        self._client = _Client(
            unreadable, **options, request_timeout_ms=REQUEST_MS, metadata_max_age_ms=refresh_ms
        )

    @property
    def patient(self) -> bool:
        """Whether a broker may hold fetches for longer where nothing comes for a while.

        No partition should be resumed meanwhile, since that waits for the fetch to return.
        """
        return self._client.patient

    @patient.setter
    def patient(self, patient: bool) -> None:
        self._client.patient = patient

    def hold_until(self, moment: float) -> None:
        """Send no fetch before `moment` (monotonic seconds), so that records gather at the brokers.

        To pause the partitions would do, but costs a future and its callbacks for each of them.
        """
        self._client.held_until = moment

    async def getmany(
        self, *partitions: TopicPartition, max_records: int | None = None, **options: Any
    ) -> dict[TopicPartition, list[Any]]:
        """Return what was fetched, as aiokafka does, but the records as they were unpacked.

        With `max_records`, at most so many, and of one partition.

        Raises `CorruptRecordException` for what it cannot read, and has lost its place then, in all
        partitions: seek to where each of them was, and it is passed by.
        """
        try:
            self._unpacked.most = max_records or EVERYTHING
            runs = None if max_records is None else 1
            fetched = await super().getmany(*partitions, max_records=runs, **options)
        except OffsetOutOfRangeError:
            raise
        except FAULTS as error:
            self._client.screened_until = time.monotonic() + SCREEN_SECONDS
            if isinstance(error, KafkaError):
                raise
            raise CorruptRecordException(f"{type(error).__name__}: {error}") from error
        return {
            partition: found[0] if len(found) == 1 else list(chain.from_iterable(found))
            for partition, found in fetched.items()
        }

    async def start(self) -> None:
        """Connect. Raises `KafkaConnectionError` where no broker answers."""
        await super().start()
        self._fetcher._records = self._unpacked  # noqa: SLF001

    async def stop(self) -> None:
        """Disconnect, in bounded time."""
        async with asyncio.timeout(STOP_SECONDS):
            await super().stop()

    async def describe(self, topics: Sequence[str]) -> Cluster:
        """Return what a broker says of these topics; any will do, one that is away costs nothing.

        Raises `KafkaConnectionError` where none answers.
        """
        answer = await self._client.first_answer(TopicsRequest(topics))
        if answer is None:
            raise KafkaConnectionError("no broker answers")
        return read_cluster(answer)

    def take(self, logs: Collection[Log]) -> None:
        """Have exactly these logs assigned, and paused; does nothing where they are already.

        aiokafka forgets every position with that. Each log gets some position, so that it does not
        look one up where nobody reads: seek and resume those that are to be read.
        """
        partitions = [TopicPartition(*log) for log in logs]
        if self.assignment() == set(partitions):
            return
        self.assign(partitions)
        for partition in partitions:
            self.seek(partition, 0)
        self.pause(*partitions)

    def watch_leaders(self, changed: Callable[[TopicPartition], None]) -> None:
        """Call `changed` for each assigned partition that has another leader than it had.

        It is called before anything is fetched from the new one, so a `seek` in it comes in time.
        """
        leaders: dict[TopicPartition, int] = {}

        def look(cluster: Any) -> None:
            for partition in self.assignment():
                leader = cluster.leader_for_partition(partition)
                if leader in NO_LEADER:
                    continue
                if leaders.setdefault(partition, leader) != leader:
                    leaders[partition] = leader
                    changed(partition)

        self._client.cluster.add_listener(look)


class _Client(BrokerClient):
    """The consumer's connections: holds fetches, and screens what they bring."""

    def __init__(self, unreadable: Unreadable, **options: Any) -> None:
        super().__init__(**options)
        self._unreadable = unreadable
        self.screened_until = float("-inf")
        """Until when what is fetched is looked through."""
        self.held_until = float("-inf")
        """Until when no fetch is sent."""
        self.patient = False
        self._fetched_nothing = 0
        """Fetches in a row that brought nothing."""

    async def send(
        self, node_id: int, request: Any, *, group: object = ConnectionGroup.DEFAULT
    ) -> Any:
        if not isinstance(request, FetchRequest):
            return await super().send(node_id, request, group=group)
        held = self.held_until - time.monotonic()
        if held > 0:
            await asyncio.sleep(held)
        if self.patient and self._fetched_nothing >= QUIET_FETCHES:
            request._max_wait_ms = QUIET_WAIT_MS  # noqa: SLF001
        response = await super().send(node_id, request, group=group)
        brought = any(part[-1] for _, parts in response.topics for part in parts)
        self._fetched_nothing = 0 if brought else self._fetched_nothing + 1
        if time.monotonic() < self.screened_until:
            screen(response, self._unreadable)
        return response
