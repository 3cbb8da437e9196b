"""The log's start moves past a cursor of an open stream: a gap, then the remaining events."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest
from aiokafka.admin import RecordsToDelete
from aiokafka.structs import TopicPartition as KafkaTopicPartition

from gateway.core.records import TopicPartition
from tests.brokers.batches import Row, batch
from tests.brokers.metadata import admin_client
from tests.brokers.raw import write_batch
from tests.client import StreamClient
from tests.conftest import Broker
from tests.integration.conftest import SetUp, new_user
from tests.integration.poison import now, row
from tests.records import TYPE, Topics, envelope

pytestmark = pytest.mark.parametrize("broker", ["kafka"], indirect=True, scope="session")

NO_MEMORY: dict[str, Any] = {"tail_bytes": 20_000, "tail_warm_seconds": 0}

STRIDE = 100
"""Every so many records is one of the user's events."""

BATCH = 4000
"""Records, of together less than a fetch brings: a scan has to fetch once for each batch."""


async def test_past_a_replay_that_is_running(set_up: SetUp, broker: Broker, user: str) -> None:
    stage = await set_up(1, **NO_MEMORY, replay_max_events=1_000_000)
    client = await stage.open(user)
    await client.drop()
    await write_long_log(broker, stage.topics, user, records := 360_000)

    # On a busy machine this process must be the first to run when an event has come.
    os.setpriority(os.PRIO_PROCESS, stage.worker.pid, 19)
    await client.reconnect()
    await client.wait_for(1)
    stage.worker.signal(signal.SIGSTOP)
    await delete_before(broker, stage.topics, start := 340_000)
    stage.worker.signal(signal.SIGCONT)

    await client.wait_for(lambda client: client.numbers[-1:] == [records // STRIDE - 1])
    (gap,) = gaps(client)
    numbers = client.numbers
    seen = next(place for place, event in enumerate(client.events) if event.type == "stream.gap")
    assert numbers == [*range(seen), *range(start // STRIDE, records // STRIDE)]
    assert 0 < seen < start // STRIDE
    assert (gap["reason"], gap["to"]) == ("expired", start)
    assert (seen - 1) * STRIDE < gap["from"] <= start


async def test_past_a_slow_client(set_up: SetUp, broker: Broker, user: str) -> None:
    stage = await set_up(1, **NO_MEMORY)
    seen = await stage.witness()
    client = await stage.open(user)
    base = (await stage.write.noise(1, partition=0)).offset + 1
    client.stall()
    for number in range(200):
        await stage.write.event(user, TYPE, b'"%d %s"' % (number, b"x" * 40_000))
    await stage.write.noise(200, partition=0)
    await seen.has_seen_everything()

    await delete_before(broker, stage.topics, base + 150)
    client.go_on()

    def last(client: StreamClient) -> bool:
        return client.data[-1:] != [] and client.data[-1].startswith('"199 ')

    await client.wait_for(last)
    numbers = [int(text[1:].partition(" ")[0]) for text in client.data]
    (gap,) = gaps(client)
    first = gap["from"] - base
    assert numbers == [*range(first), *range(150, 200)]
    assert 0 < first < 150, "all that was on its way, and nothing twice"
    assert (gap["reason"], gap["to"]) == ("expired", base + 150)


def gaps(client: StreamClient) -> list[dict[str, Any]]:
    return [json.loads(data) for data in client.own("gap")]


async def write_long_log(broker: Broker, served: Topics, user: str, count: int) -> None:
    """Write records of which every hundredth is the user's, numbered."""
    other = new_user()
    noise = Row(other.encode(), envelope(other))
    for begin in range(0, count, BATCH):
        rows = [
            noise if offset % STRIDE else row(user, offset // STRIDE)
            for offset in range(begin, begin + BATCH)
        ]
        await write_batch(
            broker.bootstrap, TopicPartition(served.user, 0), batch(rows, timestamp=now())
        )


async def delete_before(broker: Broker, served: Topics, offset: int) -> None:
    async with admin_client(broker.bootstrap) as admin:
        await admin.delete_records({KafkaTopicPartition(served.user, 0): RecordsToDelete(offset)})
