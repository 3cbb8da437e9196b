"""Writes of the publisher to a scripted broker: doubtful and hostile answers, its end."""

from __future__ import annotations

import asyncio
import gc
import struct
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka.errors import ProducerClosed

from gateway.errors import PublishError
from gateway.kafka import batch_writer, producer
from gateway.kafka.batch_writer import REPORTED_FAILURES
from gateway.kafka.client import wire
from gateway.kafka.client.cluster import ClusterClient
from gateway.kafka.envelope import Message
from gateway.kafka.partition_queue import PartitionQueue
from gateway.kafka.producer import Producer
from gateway.kafka.topics import TopicSpec
from gateway.publisher import EventPublisher
from tests.brokers.scripted import Request
from tests.eventually import eventually
from tests.kafka.scripted_writes import TOPIC, Writes, number_of, scripted, written

TOO_LARGE = 10


def publisher(broker: Writes, timeout: float = 10.0, **options: Any) -> EventPublisher:
    return EventPublisher(broker.server.address, timeout=timeout, **options)


async def publish(publisher: EventPublisher, data: object = None) -> str | None:
    return await publisher.publish("alice", "import.progress", data)


async def test_a_batch_refused_after_a_change_of_leader_is_in_doubt() -> None:
    """A former leader answers code 6 also to a batch that it has appended."""
    async with scripted() as broker, publisher(broker) as made:
        await publish(made)
        broker.script += [6, TOO_LARGE]
        with pytest.raises(PublishError, match="may have been written") as doubtful:
            await publish(made)
        assert doubtful.value.may_be_written
        await publish(made)
        sent = [number_of(batch) for request in broker.requests for batch in request.values()]
        assert sent == [(1, 0), (1, 1), (1, 1), (2, 0)]


def _truncated(request: Request) -> bytes:
    return written(request, {})[:6]


def _negative(request: Request) -> bytes:
    return struct.pack(">iii", request.correlation_id, -5, 0)


def _huge(request: Request) -> bytes:
    return struct.pack(">ii", request.correlation_id, 0x7FFFFFFF) + b"\x7f" * 64


def _foreign(request: Request) -> bytes:
    return written(request._replace(correlation_id=request.correlation_id + 7), {})


def _without_partitions(request: Request) -> bytes:
    return written(request, {})


@pytest.mark.parametrize(
    "answer", [_truncated, _negative, _huge, _foreign, _without_partitions, 6, 7, 20, 56]
)
async def test_after_an_answer_without_an_outcome_the_same_batch_is_resent(
    answer: Callable[[Request], bytes] | int,
) -> None:
    async with scripted() as broker, publisher(broker) as made:
        broker.script.append(answer)
        await publish(made)
        first, second = broker.requests
        assert first == second


async def test_an_unknown_server_error_leaves_the_event_in_doubt() -> None:
    async with scripted() as broker, publisher(broker) as made:
        broker.script.append(-1)
        with pytest.raises(PublishError) as doubtful:
            await publish(made)
        assert doubtful.value.may_be_written
        await publish(made)


async def test_an_unknown_error_code_refuses_the_event() -> None:
    async with scripted() as broker, publisher(broker) as made:
        broker.script.append(999)
        with pytest.raises(PublishError, match="refused") as refused:
            await publish(made)
        assert not refused.value.may_be_written
        await publish(made)


async def test_a_throttled_publisher_sends_nothing_and_says_why() -> None:
    async with scripted() as broker, publisher(broker, timeout=1.0) as made:
        broker.throttle_ms = 100_000
        await publish(made)
        with pytest.raises(PublishError, match="broker 1 throttles this client") as refused:
            await publish(made)
        assert not refused.value.may_be_written
        assert len(broker.requests) == 1


async def test_an_event_that_cannot_be_sent_in_time_is_not_in_doubt() -> None:
    """Connecting to a silent broker takes longer than the event may wait."""
    async with scripted() as broker, publisher(broker, timeout=2.0) as made:
        await publish(made)
        _, writer = made._producer._connection  # type: ignore[misc] # noqa: SLF001
        broker.server.silent = True
        for each in broker.server.writers:
            each.transport.abort()
        broken = writer._brokers[1]._connection  # noqa: SLF001
        await eventually("the connection is closed", lambda: bool(broken and broken.closed))
        with pytest.raises(PublishError, match="did not accept it in time") as refused:
            await publish(made)
        assert not refused.value.may_be_written
        broker.server.silent = False
        sent = len(broker.requests)
        await writer.flush()
        assert len(broker.requests) == sent


async def test_an_unclear_answer_to_a_renewed_producer_id_keeps_writes_idempotent() -> None:
    async with scripted() as broker, publisher(broker) as made:
        await publish(made)
        broker.id_error = -1
        broker.script.append(45)
        waiting = asyncio.create_task(publish(made))
        await eventually(
            "the id is requested twice", lambda: broker.server.count(wire.INIT_PRODUCER_ID) > 2
        )
        broker.id_error = 0
        await waiting
        assert number_of(*broker.requests[-1].values()) == (2, 0)


async def test_a_broker_that_assigns_no_producer_id_is_reported_once_and_not_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(batch_writer, "RETRY_SECONDS", 0)
    async with scripted() as broker, publisher(broker) as made:
        broker.id_error = 14  # the coordinator is loading
        broker.script.append(45)  # so that another id is requested
        waiting = asyncio.create_task(publish(made))
        found: list[int] = []

        def requested(number: int) -> bool:
            found.append(len([each for each in caplog.messages if "no producer id" in each]))
            return broker.server.count(wire.INIT_PRODUCER_ID) > number

        await eventually("a warning", lambda: "no producer id yet" in caplog.text)
        assert broker.server.count(wire.INIT_PRODUCER_ID) >= REPORTED_FAILURES
        await eventually("more requests", lambda: requested(3 * REPORTED_FAILURES))
        assert set(found) == {1}
        broker.id_error = 0
        await waiting


async def test_a_request_is_not_larger_than_the_limit() -> None:
    async with scripted(topics=30) as broker:
        options = {"bootstrap_servers": [broker.server.address], "max_request_size": 20_000}
        async with Producer(options, "murmur2", 10.0) as producer:
            specs = [TopicSpec(name) for name in broker.topics]
            await (await producer.send(specs[0], _message(10)))
            for spec in specs[1:]:  # joins the metadata
                await (await producer.send(spec, _message(10)))
            sent = [await producer.send(spec, _message(3000)) for spec in specs]
            await asyncio.gather(*sent)
        sizes = [sum(map(len, request.values())) for request in broker.requests]
        assert max(sizes) <= 20_000
        assert len(sizes) < 50


def _message(size: int) -> Message:
    return Message("", b"alice", b"x" * size, [])


async def test_callers_that_wait_for_room_are_woken_once_and_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = 0
    put = PartitionQueue.put_later

    async def counting(*arguments: Any) -> None:
        nonlocal steps
        waiting = put(*arguments)

        class Counted:
            def __await__(self) -> Any:
                nonlocal steps
                for each in waiting.__await__():
                    steps += 1
                    yield each

        await Counted()

    monkeypatch.setattr(PartitionQueue, "put_later", counting)
    async with scripted() as broker, publisher(broker, timeout=60.0) as made:
        await publish(made)
        events = range(2000)
        await asyncio.gather(*(publish(made, f"<{number}>") for number in events))
        log = b"".join(batch for request in broker.requests for batch in request.values())
        places = [log.index(f"<{number}>".encode()) for number in events]
        assert places == sorted(places)
        assert 0 < steps <= len(events)


async def test_a_caller_that_gives_up_its_wait_for_room_writes_nothing() -> None:
    async with scripted() as broker, publisher(broker) as made:
        await publish(made)
        broker.script.append(lambda _: None)
        first = [asyncio.create_task(publish(made, "x" * 16_384)) for _ in range(2)]
        await eventually("a request is unanswered", lambda: len(broker.requests) == 2)
        late = asyncio.create_task(publish(made, "late"))
        await asyncio.sleep(0)
        late.cancel()
        with pytest.raises(asyncio.CancelledError):
            await late
        broker.server.writers[-1].transport.abort()
        await asyncio.gather(*first)
        await publish(made, "last")
        log = b"".join(batch for request in broker.requests for batch in request.values())
        assert b'"late"' not in log


async def test_events_sent_while_the_publisher_closes_end_at_once() -> None:
    async with scripted() as broker:
        made = publisher(broker)
        async with made:
            await publish(made)
            broker.script += [lambda _: None] * 9
            tasks = [asyncio.create_task(publish(made, "x" * 9000)) for _ in range(9)]
            await eventually("a request is unanswered", lambda: len(broker.requests) == 2)
            made._producer._timeout = 0.1  # noqa: SLF001 - the patience of `close`
            closing = asyncio.create_task(made.__aexit__())
            await asyncio.sleep(0)
            with pytest.raises(PublishError, match="publisher is closed"):
                await publish(made)
            await asyncio.wait_for(closing, 5)
            results = await asyncio.gather(*tasks, return_exceptions=True)
            errors = [error for error in results if isinstance(error, PublishError)]
            assert [error.may_be_written for error in errors] == [True] + [False] * 8
        with pytest.raises(PublishError, match="publisher is closed"):
            await publish(made)


async def test_a_record_given_to_a_stopped_writer_fails() -> None:
    async with scripted() as broker:
        options = {"bootstrap_servers": [broker.server.address]}
        async with Producer(options, "murmur2", 10.0) as producer:
            await (await producer.send(TopicSpec(TOPIC), _message(1)))
            connection = producer._connection  # noqa: SLF001
            assert connection is not None
            client, writer = connection
            log = next(iter(writer._numbers))  # noqa: SLF001
            await client.stop()
            sent = await writer.add(log, _message(1))  # its task is cancelled before it begins
        with pytest.raises(ProducerClosed):
            await asyncio.wait_for(sent, 5)


async def test_a_failed_event_whose_delivery_is_not_awaited_is_not_logged_as_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reported: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    async with scripted() as broker, publisher(broker) as made:
        broker.script.append(TOO_LARGE)
        await made.submit("alice", "import.progress", None)
        await eventually("the event was sent", lambda: len(broker.requests) == 1)
        await publish(made)
        gc.collect()
    assert not reported


async def test_metadata_is_refreshed_at_the_interval_of_a_producer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(producer, "REFRESH_SECONDS", 0.05)
    async with scripted() as broker, publisher(broker) as made:
        await publish(made)
        asked = broker.server.count(wire.METADATA)
        await eventually("refreshes", lambda: broker.server.count(wire.METADATA) > asked + 3)


async def test_a_write_without_an_answer_refreshes_the_metadata_for_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    requested: list[int] = []
    monkeypatch.setattr(ClusterClient, "request_refresh", lambda _: requested.append(1))
    async with scripted() as broker:
        broker.id_error = 31  # cluster authorization failed: writes are not idempotent
        async with publisher(broker, timeout=1.0) as made:
            await publish(made)
            requested.clear()
            broker.script.append(lambda _: None)
            with pytest.raises(PublishError):
                await publish(made)
            await eventually("a refresh is requested", lambda: requested)


async def test_a_closed_publisher_leaves_no_task_behind() -> None:
    before = asyncio.all_tasks()
    async with scripted() as broker:
        async with publisher(broker, timeout=0.3) as made:
            broker.script += [lambda _: None] * 9
            for _ in range(3):
                await made.submit("alice", "import.progress", None)
        server = {task for task in asyncio.all_tasks() if "_serve" in repr(task)}
        assert asyncio.all_tasks() - before - server == set()
