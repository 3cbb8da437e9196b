"""Scans over logs that are lists: their cost, and the order in which they finish."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import cast

import pytest

from gateway import clock
from gateway.core.event_id import CursorEntry
from gateway.core.feed import PartitionFeed
from gateway.core.hub import Hub
from gateway.core.limits import Extent
from gateway.core.records import LogKind, OffsetPosition, Record, TopicPartition, make_record
from gateway.core.request import StreamRequest
from gateway.core.scan import BATCH
from gateway.core.source import Topic
from gateway.core.stream import Stream
from gateway.kafka.client.cluster import ClusterClient
from gateway.kafka.context import ReaderContext
from gateway.kafka.offsets import Offsets
from gateway.kafka.replay_reader import ReplayReader
from gateway.supervise import Supervisor
from tests.eventually import eventually
from tests.http.served import Served
from tests.records import envelope

USER = b"alice"
TOPIC = Topic("user-events", LogKind.USER, b"tagA", 3)
END = 10 * BATCH
"""The end of every log."""


class LongLogs:
    """Offsets and scanner in one: each log is full of records, and answers when it is let."""

    def __init__(self, order: list[str]) -> None:
        self.answering = asyncio.Event()
        self.read: list[TopicPartition] = []
        self._order = order
        self._position = 0

    async def end(self, log: TopicPartition) -> int:
        await self.answering.wait()
        return END

    async def located(
        self, log: TopicPartition, timestamps: Iterable[int]
    ) -> dict[int, int | None]:
        return dict.fromkeys(timestamps)

    async def extent(self, log: TopicPartition, cutoff: int) -> Extent:
        return Extent(0, END, 0, 0)

    def seek(self, log: TopicPartition, offset: int, topic_id: bytes) -> None:
        self.read.append(log)
        self._position = offset

    async def fetch(self, most: int) -> tuple[list[Record], int]:
        """Return at once, without yielding to other tasks, as the fastest possible Kafka."""
        self._order.append("scan")
        first, self._position = self._position, self._position + most
        now = clock.now().wall
        value = envelope(USER.decode())
        return [
            make_record(offset, now, USER, value) for offset in range(first, self._position)
        ], self._position

    def close(self) -> None:
        pass


def scans_of(logs: LongLogs, served: Served, monkeypatch: pytest.MonkeyPatch) -> ReplayReader:
    monkeypatch.setattr("gateway.kafka.replay_reader.LogScanner", lambda *_: logs)
    monkeypatch.setattr("gateway.kafka.replay_reader.topic_id", lambda *_: b"")
    return ReplayReader(
        ReaderContext(
            cast("ClusterClient", None),
            served.hub,
            cast("Offsets", logs),
            served.metrics,
            served.revoking,
            Supervisor(served.metrics),
        ),
        most=1,
        max_age_ms=3_600_000,
        warm_ms=0,
        warm_bytes=0,
    )


class Note:
    """A sink that takes note in a list that it was written to."""

    chunked = False

    def __init__(self, order: list[str], name: str) -> None:
        self._order = order
        self._name = name

    def bind(self, stream: Stream) -> None:
        pass

    def write(self, data: bytes) -> None:
        self._order.append(self._name)

    def close(self) -> None:
        pass


@asynccontextmanager
async def scanning(scans: ReplayReader) -> AsyncIterator[None]:
    task = asyncio.create_task(scans.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def read_from_its_end(hub: Hub, partition: int) -> PartitionFeed:
    """Return the feed of a log that is read, with nothing of it in memory."""
    feed = hub.feed(TopicPartition(TOPIC.name, partition), TOPIC)
    hub.activate(feed, OffsetPosition(END, 0, False), clock.now())
    return feed


def come_back(hub: Hub, feed: PartitionFeed, sink: Note, offset: int) -> Stream:
    """Open a stream that has to have everything from the offset on."""
    mark = CursorEntry(
        LogKind.USER, TOPIC.tag, feed.log.partition, OffsetPosition(offset, 0, False)
    )
    return hub.open(StreamRequest(USER, cursor=[mark]), (feed,), sink, [], clock.now())


async def until_live(streams: Iterable[Stream]) -> None:
    await eventually(
        "the streams are live", lambda: not any(stream.catching_up for stream in streams)
    )


async def test_a_client_that_leaves_while_it_waits_costs_no_scan(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served = Served()
    order: list[str] = []
    logs = LongLogs(order)
    scans = scans_of(logs, served, monkeypatch)
    feeds = [read_from_its_end(served.hub, partition) for partition in (1, 2)]
    left, stays = (come_back(served.hub, feed, Note(order, "replay"), 0) for feed in feeds)
    async with scanning(scans):
        for feed in feeds:
            scans.wake(feed)
        served.hub.lost(left, clock.now())
        logs.answering.set()
        await until_live([stays])
    assert logs.read == [feeds[1].log]


async def test_no_two_batches_of_a_replay_come_between_live_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served = Served()
    order: list[str] = []
    logs = LongLogs(order)
    logs.answering.set()
    scans = scans_of(logs, served, monkeypatch)
    past, present = (read_from_its_end(served.hub, partition) for partition in (1, 2))
    replaying = come_back(served.hub, past, Note([], "replay"), 0)
    come_back(served.hub, present, Note(order, "live"), END)

    async def write_live() -> None:
        for offset in range(END, END + 1000):
            record = make_record(offset, clock.now().wall, USER, envelope(USER.decode()))
            served.hub.dispatch({present.log: [record]}, clock.now())
            await asyncio.sleep(0)

    async with scanning(scans):
        writing = asyncio.create_task(write_live())
        scans.wake(past)
        await until_live([replaying])
        await writing
    first, last = order.index("scan"), len(order) - order[::-1].index("scan")
    assert order.count("scan") == END // BATCH
    assert "scan scan" not in " ".join(order[first:last])
