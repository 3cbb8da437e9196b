"""Reads one log at a time, from any offset, by fetches without a session.

Each scanner opens separate connections: scans and live reading never wait for each other.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaConnectionError
from msgspec.structs import replace

from gateway.kafka.client.error_codes import partition_error
from gateway.kafka.fetch.batches import BATCH_WORK, LARGE, SLICE, large_batch, unpack
from gateway.kafka.fetch.broker import REQUEST_SECONDS
from gateway.kafka.fetch.protocol import API_KEY, FetchPosition, Limits, MalformedResponseError
from gateway.kafka.fetch.session import FetchSession

if TYPE_CHECKING:
    from gateway.core.records import Record, TopicPartition, UnreadableReason
    from gateway.kafka.client.cluster import ClusterClient
    from gateway.kafka.client.connection import Connection
    from gateway.kafka.fetch.batches import Unreadable
    from gateway.kafka.fetch.protocol import Answer

LIMITS = Limits(wait_ms=100, max_bytes=1 << 20)
"""A broker answers a scan at once, except at the end of the log."""

EVERYTHING = 1 << 30


def ignore(log: TopicPartition, offset: int, reason: UnreadableReason) -> None:
    """Ignore unreadable records: for read-only commands."""


class LogScanner:
    """Reads one log at a time. `fetch` raises aiokafka's `KafkaError`."""

    def __init__(self, cluster: ClusterClient, unreadable: Unreadable = ignore) -> None:
        self._cluster = cluster
        self._unreadable = unreadable
        self._connections: dict[int, Connection] = {}
        self._log: TopicPartition | None = None
        self._position = FetchPosition(0)
        self._records: list[Record] = []
        """Fetched records that were not returned yet."""
        self._following = 0
        """The offset after `_records`."""

    def close(self) -> None:
        """Disconnect."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def seek(self, log: TopicPartition, offset: int, topic_id: bytes = b"") -> None:
        """Read a log from an offset on, by topic id if given."""
        self._log = log
        self._position = FetchPosition(offset, topic_id=topic_id)
        self._records, self._following = [], offset

    async def fetch(self, most: int = EVERYTHING) -> tuple[list[Record], int]:
        """Return the next records, at most `most`, and the offset that follows them.

        At the end of the log the list is empty, after `LIMITS.wait_ms`. The offset skips
        transaction markers, aborted records and unreadable batches after the last record.
        """
        assert self._log is not None, "seek first"
        if not self._records:
            await self._fetch(self._log)
        records = self._records[:most]
        del self._records[:most]
        following = self._records[0].offset if self._records else self._following
        return records, following

    async def _fetch(self, log: TopicPartition) -> None:
        leader = self._cluster.leader_or_raise(log)
        connection = await self._connected(leader.node_id)
        sought = self._position
        position = replace(sought, leader_epoch=leader.epoch)
        try:
            session = FetchSession(connection.versions.get(API_KEY, (0, 0)), keep=False)
            request = session.request({log: position}, LIMITS)
            timeout = LIMITS.wait_ms / 1000 + REQUEST_SECONDS
            body = await connection.request(API_KEY, session.version, request, timeout)
            response = session.receive(body)
        except MalformedResponseError as error:
            connection.close()
            raise KafkaConnectionError(str(error)) from error
        await asyncio.sleep(response.throttle_ms / 1000)
        for answer in response.answers:
            if self._position is not sought:
                return  # `seek` was called meanwhile
            sought = await self._decode(log, sought, answer)

    async def _decode(
        self, log: TopicPartition, sought: FetchPosition, answer: Answer
    ) -> FetchPosition:
        """Keep the records of an answer; return the position after them."""
        if answer.error:
            self._cluster.request_refresh()
            raise partition_error(answer.error, log)
        batches = unpack(
            answer.records,
            sought.offset,
            answer.high_watermark,
            answer.aborted,
            lambda offset, reason: self._unreadable(log, offset, reason),
        )
        work = 0
        for each in batches:
            batch = await large_batch(batches) if each is LARGE else each
            if batch is None or self._position is not sought:
                break  # `seek` was called meanwhile
            work += len(batch.records) + BATCH_WORK
            self._records += batch.records
            self._position = sought = replace(sought, offset=batch.following)
            self._following = batch.following
            if work >= SLICE:
                work = 0
                await asyncio.sleep(0)
        return sought

    async def _connected(self, node_id: int) -> Connection:
        connection = self._connections.get(node_id)
        if connection is None or connection.closed:
            connection = await self._cluster.connect(node_id)
            self._connections[node_id] = connection
        return connection
