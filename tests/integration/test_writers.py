"""Producers that are not ours: their users' events are where the gateway looks, or it says so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gateway.core.partitioner import partitioner
from tests.eventually import eventually
from tests.integration.conftest import new_user
from tests.records import envelope, numbered
from tests.writers import programs

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Literal

    from tests.client import StreamClient
    from tests.conftest import Broker, MakeTopics, StartWorker
    from tests.integration.conftest import OpenStream
    from tests.worker import Worker
    from tests.writers.programs import Rows, Write

PARTITIONS = 7
EACH = 5
"""Events of every user, written in turn with those of the others."""

pytestmark = pytest.mark.parametrize("broker", ["kafka"], indirect=True, scope="session")


def new_users() -> list[str]:
    """Return 20 users, some of whose ids take more than one byte a character."""
    return [f"{new_user()}{ending}" for ending in ["", "-å", "-日本", "-🙂"] * 5]


def rows_of(users: list[str]) -> Rows:
    return [
        (user, envelope(user, data=numbered(number)).decode())
        for number in range(EACH)
        for user in users
    ]


async def streams_of(
    users: list[str], worker: Worker, open_stream: OpenStream
) -> list[StreamClient]:
    clients = [await open_stream(worker, user) for user in users]
    for client in clients:
        await client.wait_for(lambda client: client.last_event_id)
    return clients


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (programs.java, "murmur2"),
        (programs.kafkajs, "murmur2"),
        (programs.franz_go, "murmur2"),
        (programs.librdkafka_murmur2, "murmur2"),
        (programs.librdkafka, "crc32"),
    ],
    ids=["Java", "KafkaJS", "franz-go", "librdkafka with murmur2", "librdkafka"],
)
async def test_events_of_another_producer_are_where_their_users_look(
    broker: Broker,
    topics: MakeTopics,
    start_worker: StartWorker,
    open_stream: OpenStream,
    tmp_path: Path,
    write: Write,
    name: Literal["murmur2", "crc32"],
) -> None:
    served = await topics(PARTITIONS)
    worker = await start_worker(served, partitioner=name)
    users = new_users()
    clients = await streams_of(users, worker, open_stream)
    rows = rows_of(users)

    partitions = await write(broker.bootstrap, served.user, rows, tmp_path)

    expected = partitioner(name)
    assert partitions == [expected(user.encode(), PARTITIONS) for user, _ in rows]
    for client in clients:
        await client.wait_for(EACH)
        assert client.numbers == list(range(EACH))
    assert await worker.metric("gateway_partitioner_mismatches_total") == 0


async def test_a_producer_that_partitions_otherwise_is_counted_and_the_setting_named(
    broker: Broker,
    topics: MakeTopics,
    start_worker: StartWorker,
    open_stream: OpenStream,
    tmp_path: Path,
) -> None:
    served = await topics(PARTITIONS)
    worker = await start_worker(served, partitioner="murmur2")
    users = new_users()
    await streams_of(users, worker, open_stream)

    await programs.librdkafka(broker.bootstrap, served.user, rows_of(users), tmp_path)

    async def counted() -> bool:
        return await worker.metric("gateway_partitioner_mismatches_total") > 0

    await eventually("a misplaced event is counted", counted)
    lines = map(json.loads, worker.log().splitlines())
    [warning, *_] = [line for line in lines if line["level"] == "warning"]
    assert "set GATEWAY_PARTITIONER=crc32 if all producers do" in warning["event"]
    assert warning["topic"] == served.user
