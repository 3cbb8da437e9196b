"""Offset lookups (ListOffsets): start, end, and the first record after a time."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any

from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    LeaderNotAvailableError,
    NotLeaderForPartitionError,
    UnknownTopicOrPartitionError,
)

from gateway.core.limits import Extent
from gateway.kafka.client.error_codes import log_name, partition_error
from gateway.kafka.client.requests import (
    LIST_OFFSETS,
    REQUEST_SECONDS,
    UNKNOWN_EPOCH,
    ListedOffset,
    ask,
    list_offsets_request,
    read_list_offsets,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping

    from gateway.core.records import TopicPartition
    from gateway.kafka.client.cluster import ClusterClient

_ELSEWHERE = (
    LeaderNotAvailableError,
    NotLeaderForPartitionError,
    UnknownTopicOrPartitionError,
)
"""Errors of a request to a former leader: the cached metadata is stale."""

_UNKNOWN_SERVER_ERROR = -1

END = -1
"""The timestamp that stands for the end of a log: the last stable offset."""

START = -2
"""The timestamp that stands for the start of a log."""

NO_TIMESTAMP = -1
"""The timestamp in a response without a matching record."""

LATEST_TIMESTAMP = (1 << 63) - 1
"""Timestamps are signed 64-bit integers in Kafka's protocol."""


class Offsets:
    """Offset lookups at the leaders of partitions; concurrent ones share requests.

    Calls of one iteration of the event loop are sent together: one request for each leader, and one
    more for each further timestamp of the same log; all are pipelined. All methods raise aiokafka's
    `KafkaError` if the leader does not answer.
    """

    def __init__(self, cluster: ClusterClient) -> None:
        self._cluster = cluster
        self._waiting: list[_Lookup] = []
        """Lookups of this turn of the event loop, which are sent in the next one."""

    def lookup(self, log: TopicPartition, timestamp: int) -> asyncio.Future[ListedOffset]:
        """Return the future of the offset at a timestamp: ms, `START` or `END`.

        If no record is at or after the timestamp, `ListedOffset.timestamp` is -1.
        """
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._start_all)
        lookup = _Lookup(log, timestamp)
        self._waiting.append(lookup)
        return lookup.answer

    async def end(self, log: TopicPartition) -> int:
        """Return the offset after the last readable record: the last stable offset."""
        return await self._true_end(log, (await self.lookup(log, END)).offset)

    async def end_and_epoch(self, log: TopicPartition) -> tuple[int, int]:
        """Return `end`, and the leader epoch of the last record; -1: unknown."""
        listed = await self.lookup(log, END)
        return await self._true_end(log, listed.offset), listed.epoch

    async def at(self, log: TopicPartition, timestamp: int) -> int | None:
        """Return the first offset at or after `timestamp` (ms); None: no record.

        Raises `ValueError` for a timestamp that Kafka cannot represent.
        """
        return (await self.located(log, [timestamp]))[timestamp]

    async def located(
        self, log: TopicPartition, timestamps: Iterable[int]
    ) -> dict[int, int | None]:
        """Return `at` for several timestamps; their requests are pipelined."""
        wanted = list(dict.fromkeys(timestamps))
        for timestamp in wanted:
            _check(timestamp)
        found = await asyncio.gather(*[self.lookup(log, each) for each in wanted])
        return dict(zip(wanted, map(_existing, found), strict=True))

    async def extent(self, log: TopicPartition, cutoff: int) -> Extent:
        """Return start and end of a log, and its first offset at or after `cutoff` (ms)."""
        _check(cutoff)
        # The leader answers in this order, and the end must not be before the other two.
        start, young, end = await asyncio.gather(
            *[self.lookup(log, timestamp) for timestamp in (START, cutoff, END)]
        )
        last = await self._true_end(log, end.offset)
        offset = _existing(young)
        return Extent(start.offset, last, last if offset is None else offset, cutoff)

    async def _true_end(self, log: TopicPartition, end: int) -> int:
        """Return the end of a log, also if ListOffsets has returned it too low.

        The embedded broker returns base offset + 1 of the last batch, also for larger batches.
        """
        if end <= 0 or not self._cluster.is_embedded:
            return end
        return max(end, (await self._cluster.peek(log, end - 1)).end)

    # Requests.

    def _start(self, lookups: Iterable[_Lookup], coroutine: Coroutine[Any, Any, None]) -> None:
        """Start a task that answers these lookups; however the task ends, none of them waits."""
        self._cluster.start_task(coroutine).add_done_callback(partial(_end_lookups, lookups))

    def _start_all(self) -> None:
        lookups, self._waiting = self._waiting, []
        self._look_up(lookups, retry=True)

    def _look_up(self, lookups: Iterable[_Lookup], *, retry: bool) -> None:
        """Ask each leader independently; with `retry`, refresh unknown leaders first.

        A request has each log once, because brokers reject duplicates.
        """
        requests: defaultdict[tuple[int, int], dict[TopicPartition, _Lookup]] = defaultdict(dict)
        turns: Counter[TopicPartition] = Counter()
        unled: list[_Lookup] = []
        for lookup in lookups:
            log = lookup.log
            leader = self._cluster.leader(log)
            if leader is None:
                unled.append(lookup)
            else:
                requests[leader.node_id, turns[log]][log] = lookup
                turns[log] += 1
        for (node_id, _), asked in requests.items():
            self._start(asked.values(), self._ask_leader(node_id, asked, retry=retry))
        if unled:
            logs = ", ".join(sorted({log_name(lookup.log) for lookup in unled}))
            error = LeaderNotAvailableError(f"no leader of {logs}")
            self._fail(dict.fromkeys(unled, error), retry=retry)

    async def _ask_leader(
        self, node_id: int, asked: Mapping[TopicPartition, _Lookup], *, retry: bool
    ) -> None:
        failed: dict[_Lookup, KafkaError] = {}
        leaders = {log: self._cluster.leader(log) for log in asked}
        wanted = {
            log: (leader.epoch if leader else UNKNOWN_EPOCH, asked[log].timestamp)
            for log, leader in leaders.items()
        }
        try:
            connection = await self._cluster.connection(node_id)
            request = partial(list_offsets_request, wanted)
            found = await ask(connection, LIST_OFFSETS, request, read_list_offsets, REQUEST_SECONDS)
        except KafkaError as error:
            failed = dict.fromkeys(asked.values(), error)
        else:
            for log, lookup in asked.items():
                offset = found.get(log, _UNKNOWN_SERVER_ERROR)
                if isinstance(offset, int):
                    failed[lookup] = partition_error(offset, log)
                elif not lookup.answer.done():
                    lookup.answer.set_result(offset)
        self._fail(failed, retry=retry)

    def _fail(self, failed: Mapping[_Lookup, KafkaError], *, retry: bool) -> None:
        """Fail the lookups; with `retry`, repeat lookups that another leader may answer."""
        again = []
        for lookup, error in failed.items():
            if lookup.answer.done():
                continue
            if retry and isinstance(error, _ELSEWHERE):
                again.append(lookup)
            else:
                lookup.answer.set_exception(error)
        if failed:
            self._cluster.request_refresh()
        if again:
            self._start(again, self._look_up_again(again))

    async def _look_up_again(self, lookups: list[_Lookup]) -> None:
        """Repeat lookups after the next refresh of the metadata."""
        await self._cluster.refreshed()
        self._look_up(lookups, retry=False)


class _Lookup:
    """A pending offset lookup; equal only to itself."""

    __slots__ = ("answer", "log", "timestamp")

    def __init__(self, log: TopicPartition, timestamp: int) -> None:
        self.log = log
        self.timestamp = timestamp
        self.answer: asyncio.Future[ListedOffset] = asyncio.get_running_loop().create_future()


def _end_lookups(lookups: Iterable[_Lookup], ended: asyncio.Task[None]) -> None:
    """Fail the lookups of a task that was cancelled or has raised an unexpected exception."""
    error: BaseException | None = None
    if ended.cancelled():
        error = KafkaConnectionError("the lookup was cancelled")
    else:
        error = ended.exception()
    if error is not None:
        for lookup in lookups:
            if not lookup.answer.done():
                lookup.answer.set_exception(error)


def _check(timestamp: int) -> None:
    if not 0 <= timestamp <= LATEST_TIMESTAMP:
        raise ValueError(f"timestamp {timestamp} is not between 0 and {LATEST_TIMESTAMP}")


def _existing(found: ListedOffset) -> int | None:
    return None if found.timestamp == NO_TIMESTAMP else found.offset
