"""Unexpected exceptions in the Kafka parts of a worker, while streams are open.

Each costs its own part only: a partition, a scan or a task. The worker runs in the test's process,
where a test can make one of its functions raise; broker, HTTP and clients are real.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError

from gateway.core.hub import Hub
from gateway.core.records import TopicPartition
from gateway.core.scan import Scan
from gateway.kafka import revocation_topic
from gateway.kafka.client.backoff import MOST_BACKOFF_SECONDS
from gateway.kafka.compacted_topic import CompactedTopic
from gateway.kafka.fetch import answers, batches, reader
from gateway.kafka.fetch.assignment import Assignment
from gateway.kafka.fetch.broker import BrokerReader
from gateway.kafka.fetch.session import FetchSession
from gateway.kafka.health import RetentionWatch, UnreadPartitions
from gateway.kafka.live_reader import LiveReader
from gateway.kafka.offsets import Offsets
from gateway.kafka.replay_reader import ReplayReader
from gateway.kafka.revocation_events import RevocationEvents
from gateway.kafka.revocation_topic import RevocationFollower
from gateway.kafka.session import KafkaSession
from gateway.kafka.topic_watch import TopicWatch
from gateway.metrics import Metrics
from gateway.supervise import Part
from tests.conftest import Broker, MakeTopics
from tests.eventually import eventually
from tests.integration.conftest import OpenStream
from tests.integration.inner_worker import (
    BAD,
    GOOD,
    PARTITIONS,
    Fault,
    expect,
    follow,
    running,
    users,
)
from tests.records import RecordWriter


async def test_records_that_raise_cost_their_partition_until_they_do_not(
    broker: Broker,
    topics: MakeTopics,
    producer: AIOKafkaProducer,
    open_stream: OpenStream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served = await topics(PARTITIONS)
    names = users()
    write = RecordWriter(producer, served)
    async with running(broker, served) as worker:
        clients = await follow(open_stream, worker, names)
        original = batches.unpack
        fault = Fault()

        def unpack(data: bytes, *arguments: Any) -> Any:
            if fault.left and names[BAD].encode() in data:
                fault.raised += 1
                raise RuntimeError("injected")
            yield from original(data, *arguments)

        monkeypatch.setattr(answers, "unpack", unpack)
        begin = time.monotonic()
        for name in names:
            await write.numbered(name, [1])
        await worker.has_failed("partition", 3)
        await write.numbered(names[GOOD], [2])
        await expect(clients[GOOD], 1, 2)
        assert clients[BAD].data == []
        most = 6 + (time.monotonic() - begin) / MOST_BACKOFF_SECONDS
        assert fault.raised <= most, "the partition is fetched with back-off"
        fault.left = 0
        await expect(clients[BAD], 1)
        await write.numbered(names[BAD], [2])
        await expect(clients[BAD], 1, 2)


@pytest.mark.parametrize(
    ("owner", "name", "part"),
    [
        (Hub, "dispatch", "partition"),
        (LiveReader, "_prove", None),
        (RevocationEvents, "revoke", "partition"),
        (Metrics, "read", "metrics"),
        (FetchSession, "receive", "fetch"),
        (reader.FetchReader, "_watch", "fetch"),
        (BrokerReader, "run", "live"),
        (LiveReader, "sweep", "live"),
        (LiveReader, "_sweep", "partition"),
        (RetentionWatch, "run", "retention"),
        (TopicWatch, "refresh", "topics"),
        (CompactedTopic, "_read", "revocations"),
        (CompactedTopic, "deliver", "fetch"),
        (RevocationFollower, "apply", "revocations"),
        (RevocationEvents, "run", "revocations"),
        (ReplayReader, "_work", "scans"),
        (UnreadPartitions, "update", "sweep"),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", ""),
)
async def test_failed_part_is_retried_and_costs_no_event(
    broker: Broker,
    topics: MakeTopics,
    producer: AIOKafkaProducer,
    open_stream: OpenStream,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    name: str,
    part: str | None,
) -> None:
    served = await topics(PARTITIONS, revocations=1)
    names = users()
    write = RecordWriter(producer, served)
    fault = Fault(2)
    if name in {"run", "_work"}:  # they are called once, at the start
        fault.into(monkeypatch, owner, name)
    async with running(broker, served, tail_warm_seconds=0) as worker:
        clients = await follow(open_stream, worker, names)
        for client in clients:
            assert client.is_open
        if not fault.raised:
            fault.into(monkeypatch, owner, name)
        for number in range(1, 4):
            for user in names:
                await write.numbered(user, [number])
        for client in clients:
            await expect(client, 1, 2, 3)
        if part is not None and name not in {"_read", "apply", "deliver"}:
            await worker.has_failed(part)


@pytest.mark.parametrize(
    ("owner", "name"), [(Scan, "feed"), (Scan, "skip"), (Offsets, "extent"), (Hub, "begin_scan")]
)
async def test_failed_scan_is_retried_and_costs_no_other_partition(
    broker: Broker,
    topics: MakeTopics,
    producer: AIOKafkaProducer,
    open_stream: OpenStream,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    name: str,
) -> None:
    served = await topics(PARTITIONS)
    names = users()
    write = RecordWriter(producer, served)
    bad = TopicPartition(served.user, BAD)
    async with running(broker, served, tail_warm_seconds=0, replay_scans=1) as worker:
        clients = await follow(open_stream, worker, names)
        begin = [client.last_event_id for client in clients]
        for client in clients:
            await client.drop()
        for user in names:
            await write.numbered(user, [1, 2])

    def concerns_bad(first: Any, *others: Any) -> bool:
        if owner is Scan:
            return bool(first._feed.log == bad)  # noqa: SLF001 - a scan does not tell
        return bool(getattr(others[0], "log", others[0]) == bad)

    fault = Fault(3).into(monkeypatch, owner, name, concerns_bad)
    async with running(broker, served, tail_warm_seconds=0, replay_scans=1) as worker:
        for client, event_id in zip(clients, begin, strict=True):
            client.url = worker.events_url
            await client.connect(headers={"Last-Event-ID": event_id})
        await expect(clients[GOOD], 1, 2)
        await write.numbered(names[GOOD], [3])
        await expect(clients[GOOD], 1, 2, 3)
        await expect(clients[BAD], 1, 2)
        assert fault.raised == 3
        assert await worker.errors("scan") == 3
        assert await worker.errors("scans") == 0


@pytest.mark.parametrize("part", [Part.LIVE, Part.TOPICS])
async def test_restart_of_a_reader_or_of_the_whole_session_costs_no_event(
    broker: Broker,
    topics: MakeTopics,
    producer: AIOKafkaProducer,
    open_stream: OpenStream,
    monkeypatch: pytest.MonkeyPatch,
    part: Part,
) -> None:
    """The live reader's task group fails twice, or the group of all readers does."""
    served = await topics(PARTITIONS, revocations=1)
    names = users()
    write = RecordWriter(producer, served)
    fault = Fault(0)
    if part is Part.LIVE:

        def is_live(assignment: Assignment) -> bool:
            return isinstance(assignment.listener, LiveReader)

        fault.into(monkeypatch, Assignment, "assign_all", is_live)
    else:
        original = KafkaSession._probe  # noqa: SLF001 - one of the session's tasks

        async def keep(session: KafkaSession, kept: Part, run: Any) -> None:
            if kept is not part:
                await session._supervisor.keep(kept, run)  # noqa: SLF001
            while True:  # without containment
                probe = asyncio.create_task(original(session, session._watch))  # type: ignore[arg-type]  # noqa: SLF001
                try:
                    while not fault.left:
                        await asyncio.wait([probe], timeout=0.05)
                    fault.left -= 1
                    fault.raised += 1
                    raise fault.error
                finally:
                    probe.cancel()

        monkeypatch.setattr(KafkaSession, "_keep", keep)
    async with running(broker, served, tail_warm_seconds=0) as worker:
        clients = await follow(open_stream, worker, names)
        number = 0
        for failures in (1, 2):
            fault.left = 1

            async def failed(failures: int = failures) -> bool:
                return fault.raised >= failures

            for _ in range(3):
                number += 1
                for user in names:
                    await write.numbered(user, [number])
            await eventually("the part has failed", failed)
            number += 1
            for user in names:
                await write.numbered(user, [number])
            for client in clients:
                await expect(client, *range(1, number + 1))
        await clients[GOOD].drop()
        await write.numbered(names[GOOD], [number + 1])
        await clients[GOOD].reconnect()
        await expect(clients[GOOD], *range(1, number + 2))
        await worker.has_failed("live" if part is Part.LIVE else "kafka", 2)


async def test_one_failing_revocation_does_not_hold_up_the_next(
    broker: Broker,
    topics: MakeTopics,
    producer: AIOKafkaProducer,
    open_stream: OpenStream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served = await topics(PARTITIONS, revocations=1)
    names = users()

    def is_bad(key: bytes, *_: object) -> bool:
        return names[BAD].encode() in key

    Fault().into(monkeypatch, revocation_topic, "read_change", is_bad)
    async with running(broker, served) as worker:
        clients = await follow(open_stream, worker, names)
        for name in (names[BAD], names[GOOD]):
            key = f"user:{name}".encode()
            await producer.send_and_wait(served.revocations, b"{}", key)
        await worker.has_failed("revocations")
        await clients[GOOD].wait_for_end()
        assert clients[BAD].is_open
        assert clients[2].is_open


async def test_kafka_error_in_a_group_restarts_its_part_alone(
    broker: Broker,
    topics: MakeTopics,
    producer: AIOKafkaProducer,
    open_stream: OpenStream,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    served = await topics(PARTITIONS)
    names = users()
    write = RecordWriter(producer, served)
    fault = Fault(1)
    fault.error = ExceptionGroup(
        "tasks", [ExceptionGroup("more tasks", [KafkaConnectionError("injected")])]
    )
    fault.into(monkeypatch, ReplayReader, "run")
    async with running(broker, served) as worker:
        clients = await follow(open_stream, worker, names)
        for user in names:
            await write.numbered(user, [1])
        for client in clients:
            await expect(client, 1)
            await client.drop()
        for user in names:
            await write.numbered(user, [2])
        for client in clients:
            await client.reconnect()
            await expect(client, 1, 2)
        assert fault.raised == 1
        assert await worker.errors("scans") == 0, "an error of Kafka is not an internal error"
