"""Third-party producers: the gateway finds their users' events, or reports the misplaced ones.

Each writes all shapes of a record for its users, in one batch; one worker for each partitioner
reads them all.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import pytest
import pytest_asyncio

from gateway.core.partitioner import partitioner
from tests.client import StreamClient
from tests.conftest import Broker, make_topics, use_worker, worker_settings
from tests.eventually import eventually
from tests.integration.conftest import OpenStream, SetUp, new_user
from tests.records import TYPE, envelope
from tests.shared import Shared
from tests.worker import Worker
from tests.writers import libraries, programs
from tests.writers.programs import Row, Write

PARTITIONS = 7
"""No power of two, of which a hash that is not cut to 31 bits makes the same as one that is."""

PAYLOADS = ['{"n": %d,  "é🙂": 1.50}' % number for number in range(4)]  # noqa: UP031 - braces
"""One payload for each shape, which a client must get byte for byte."""

pytestmark = pytest.mark.parametrize("broker", ["kafka"], indirect=True, scope="session")


def new_users() -> list[str]:
    """Return 20 users, some of whose ids take more than one byte a character."""
    return [f"{new_user()}{ending}" for ending in ["", "-å", "-日本", "-🙂"] * 5]


def shapes(user: str) -> list[Row]:
    """Return a record of each shape, as `docs/producers.md` has them."""
    first, second, third, fourth = PAYLOADS
    binary = {"ce_specversion": "1.0", "ce_id": "1", "ce_source": "/tests", "ce_type": TYPE}
    structured = '{"specversion":"1.0","id":"2","source":"/tests","type":"%s","data":%s}'
    return [
        Row(user, envelope(user, TYPE, first.encode()).decode()),
        Row(user, second, (("event_type", TYPE),)),
        Row(user, third, (*binary.items(), ("content-type", "application/json"))),
        Row(user, structured % (TYPE, fourth), (("content-type", "application/cloudevents+json"),)),
    ]


def rows_of(users: list[str]) -> list[Row]:
    """Return the records of all users, interleaved."""
    return [row for rows in zip(*map(shapes, users), strict=True) for row in rows]


async def streams_of(
    users: list[str], worker: Worker, open_stream: OpenStream
) -> list[StreamClient]:
    return [await open_stream(worker, user) for user in users]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def served(
    broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, Shared]]:
    """Two workers with topics of their own, by the partitioner that each expects."""
    with ExitStack() as workers:
        started = {}
        for name in ("murmur2", "crc32"):
            topics = await make_topics(broker, PARTITIONS)
            settings = worker_settings(topics, kafka_bootstrap=broker.bootstrap, partitioner=name)
            worker = Worker(settings, tmp_path_factory.mktemp("worker") / "log")
            workers.callback(worker.end)
            started[name] = Shared(worker, topics)
        for worker, _ in started.values():
            await worker.wait_until_ready()
        yield started


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (programs.java, "murmur2"),
        (libraries.aiokafka, "murmur2"),
        (programs.kafka_python, "murmur2"),
        (programs.kafkajs, "murmur2"),
        (programs.platformatic, "murmur2"),
        (programs.franz_go, "murmur2"),
        (libraries.librdkafka_murmur2, "murmur2"),
        (libraries.librdkafka, "crc32"),
    ],
    ids=[
        "Java",
        "aiokafka",
        "kafka-python",
        "KafkaJS",
        "@platformatic/kafka with its compatibilityPartitioner",
        "franz-go",
        "librdkafka with murmur2",
        "librdkafka",
    ],
)
async def test_all_shapes_of_another_producer_are_where_their_users_look(
    broker: Broker,
    served: dict[str, Shared],
    request: pytest.FixtureRequest,
    open_stream: OpenStream,
    tmp_path: Path,
    write: Write,
    name: Literal["murmur2", "crc32"],
) -> None:
    worker, topics = served[name]
    use_worker(request, worker)
    users = new_users()
    clients = await streams_of(users, worker, open_stream)
    rows = rows_of(users)

    partitions = await write(broker.bootstrap, topics.user, rows, tmp_path)

    expected = partitioner(name)
    assert partitions == [expected(row.key.encode(), PARTITIONS) for row in rows]
    for client in clients:
        await client.wait_for(len(PAYLOADS))
        assert client.data == PAYLOADS
        assert {event.type for event in client.events} == {TYPE}
    assert await worker.metric("gateway_partitioner_mismatches_total") == 0


@pytest.mark.parametrize(
    ("write", "as_json"),
    [
        (libraries.cloud_events_of_python, '{"n": 1, "\\u00e9": [1.5, null]}'),
        (programs.cloud_events_of_javascript, '{"n":1,"é":[1.5,null]}'),
    ],
    ids=["Python", "JavaScript"],
)
async def test_cloud_events_arrive_byte_for_byte_as_their_sdk_wrote_them(
    broker: Broker,
    served: dict[str, Shared],
    request: pytest.FixtureRequest,
    open_stream: OpenStream,
    tmp_path: Path,
    write: Write,
    as_json: str,
) -> None:
    worker, topics = served["murmur2"]
    use_worker(request, worker)
    users = new_users()
    clients = await streams_of(users, worker, open_stream)
    data = '{"n":1,  "é":[1.50, null]}'  # unchanged in binary mode, reserialized in structured
    rows = [
        Row(user, data, (("type", TYPE), ("mode", mode)))
        for mode in ("binary", "structured")
        for user in users
    ]

    partitions = await write(broker.bootstrap, topics.user, rows, tmp_path)

    expected = partitioner("murmur2")
    assert partitions == [expected(row.key.encode(), PARTITIONS) for row in rows]
    for client in clients:
        await client.wait_for(2)
        assert [(event.type, event.data) for event in client.events] == [
            (TYPE, data),
            (TYPE, as_json),
        ]


async def mismatch_warning(worker: Worker) -> dict[str, str]:
    """Wait until a misplaced event is counted, and return its log line."""

    async def counted() -> bool:
        return await worker.metric("gateway_partitioner_mismatches_total") > 0

    await eventually("a misplaced event is counted", counted)
    line = await worker.wait_for_log("GATEWAY_PARTITIONER")
    return dict(json.loads(line))


@pytest.mark.parametrize(
    "write",
    [libraries.librdkafka, programs.platformatic_as_it_is],
    ids=["librdkafka", "@platformatic/kafka"],
)
async def test_a_producer_that_partitions_otherwise_is_counted_and_the_setting_named(
    set_up: SetUp, broker: Broker, open_stream: OpenStream, tmp_path: Path, write: Write
) -> None:
    stage = await set_up(PARTITIONS, partitioner="murmur2")
    users = new_users()
    await streams_of(users, stage.worker, open_stream)

    await write(broker.bootstrap, stage.topics.user, rows_of(users), tmp_path)

    warning = await mismatch_warning(stage.worker)
    assert "set GATEWAY_PARTITIONER=crc32 if all producers do" in warning["event"]
    assert warning["topic"] == stage.topics.user
