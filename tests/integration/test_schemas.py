"""Topics with a Schema Registry, through the program's own door."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from gateway.core.partitioner import partitioner
from tests.eventually import eventually
from tests.integration.conftest import new_user
from tests.schemas.served import ServedRegistry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.client import StreamClient
    from tests.integration.conftest import SetUp, Stage

TYPE = (("event_type", b"import.progress"),)

NUMBER = '{"type":"record","name":"N","fields":[{"name":"n","type":"int"}]}'


def framed(schema: int, number: int) -> bytes:
    """Return a record {"n": number}, 0 to 63, in Avro."""
    return b"\0" + schema.to_bytes(4, "big") + bytes([2 * number])


@pytest.fixture
async def registry() -> AsyncIterator[ServedRegistry]:
    async with ServedRegistry() as served:
        served.add("ids/1", NUMBER)
        yield served


async def write(stage: Stage, user: str, schema: int, number: int, partition: int = 0) -> None:
    await stage.write.record(
        user.encode(), framed(schema, number), headers=list(TYPE), partition=partition
    )


def gaps(client: StreamClient) -> list[str]:
    return [json.loads(data)["reason"] for data in client.own("gap")]


async def test_values_are_delivered_as_json_live_and_replayed(
    set_up: SetUp, registry: ServedRegistry
) -> None:
    stage = await set_up(1, value_format="avro", schema_registry_url=registry.url)
    user, other = new_user(), new_user()
    client, absent = await stage.open(user), await stage.open(other)
    for each in (client, absent):
        await each.wait_for(lambda client: client.last_event_id)
    await write(stage, user, 1, 1)
    await client.wait_for(1)
    await client.drop()
    await absent.drop()
    await write(stage, user, 1, 2)
    await stage.write.record(user.encode(), b'{"n":0}', headers=list(TYPE), partition=0)
    await write(stage, user, 404, 0)
    await write(stage, user, 1, 3)
    await client.reconnect()
    await client.wait_for(3)
    assert client.numbers == [1, 2, 3]
    assert gaps(client) == []
    second = await stage.start(value_format="avro", schema_registry_url=registry.url)
    await client.reconnect(url=second.events_url)
    await write(stage, user, 1, 4)
    await client.wait_for(4)
    assert client.numbers == [1, 2, 3, 4]
    for reason in ("not_framed", "schema_unknown"):
        counted = await stage.worker.metric("gateway_unreadable_records_total", reason=reason)
        assert counted == 1, reason
    assert registry.requests.count("schemas/ids/1") == 2  # once for each worker


async def test_only_the_partition_of_a_record_waits_for_its_schema(
    set_up: SetUp, registry: ServedRegistry
) -> None:
    stage = await set_up(
        2, value_format="avro", schema_registry_url=registry.url, schema_wait_seconds=30
    )
    users = await users_of_both_partitions(stage)
    for partition, client in enumerate(users.values()):
        await write(stage, list(users)[partition], 1, 0, partition)
        await client.wait_for(1)
    (first, waiting), (second, going) = users.items()
    registry.silent = True
    await write(stage, first, 2, 1, 0)
    await eventually("the schema is requested", lambda: requested(registry, "schemas/ids/2"))
    await write(stage, first, 1, 2, 0)
    for number in range(1, 4):
        await write(stage, second, 1, number, 1)
    await going.wait_for(4)
    assert waiting.numbers == [0]
    registry.add("ids/2", NUMBER)
    registry.silent = False
    await waiting.wait_for(3)
    assert (waiting.numbers, going.numbers) == ([0, 1, 2], [0, 1, 2, 3])
    assert gaps(waiting) == gaps(going) == []


async def test_registry_that_is_away_costs_a_gap_and_its_return_is_noticed(
    set_up: SetUp, registry: ServedRegistry
) -> None:
    stage = await set_up(
        1, value_format="avro", schema_registry_url=registry.url, schema_wait_seconds=0.3
    )
    user = new_user()
    client = await stage.open(user)
    filtered = await stage.open(user, [("types", "import.completed")])
    for each in (client, filtered):
        await each.wait_for(lambda client: client.last_event_id)
    await write(stage, user, 1, 1)
    await client.wait_for(1)
    registry.broken = True
    registry.add("ids/2", NUMBER)
    await write(stage, user, 2, 2)
    await write(stage, user, 1, 3)
    await client.wait_for(3)
    assert gaps(client) == ["schema"]
    assert client.numbers == [1, 3]
    await filtered.wait_for(1)  # the record may have been an event that the filter selects
    assert gaps(filtered) == ["schema"]
    gap = json.loads(client.own("gap")[0])
    assert gap["to"] == gap["from"] + 1
    assert await stage.worker.metric("gateway_gaps_total", reason="schema") == 1
    registry.broken = False

    async def delivered() -> bool:
        await write(stage, user, 2, 4)
        await asyncio.sleep(0.2)
        return 4 in client.numbers

    await eventually("the schema is known", delivered, 20)


async def requested(registry: ServedRegistry, path: str) -> bool:
    return path in registry.requests


async def users_of_both_partitions(stage: Stage) -> dict[str, StreamClient]:
    """Return an open stream for a user of partition 0, and one for a user of partition 1."""
    place = partitioner("murmur2")
    found: dict[int, str] = {}
    while len(found) < 2:
        user = new_user()
        found.setdefault(place(user.encode(), 2), user)
    clients = {}
    for partition in range(2):
        client = clients[found[partition]] = await stage.open(found[partition])
        await client.wait_for(lambda client: client.last_event_id)
    return clients
