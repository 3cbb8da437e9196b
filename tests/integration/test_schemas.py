"""Topics with a Schema Registry, through the program's own door."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.type.money_pb2 import Money

from gateway.core.partitioner import partitioner
from gateway.core.source import ValueFormat
from gateway.schemas.framing import HEADER
from tests import schemas
from tests.client import StreamClient
from tests.conftest import MakeTopics, StartWorker
from tests.eventually import eventually
from tests.integration.conftest import OpenStream, SetUp, Stage, new_user
from tests.programs import require
from tests.records import Topics
from tests.schemas.apicurio import apicurio
from tests.schemas.served import ServedRegistry
from tests.writers.fetched import serialiser_jars
from tests.writers.programs import JAVA

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
        await stage.worker.wait_for_metric("gateway_unreadable_records_total", 1, reason=reason)
    assert registry.requests.count("schemas/ids/1") == 2  # once for each worker


async def test_large_values_keep_their_place_among_small_ones(
    set_up: SetUp, open_stream: OpenStream, registry: ServedRegistry
) -> None:
    """Large values are read in a thread, before a record enters a tail or a scan applies it."""
    registry.add("ids/5", NUMBER.replace("]", ',{"name":"text","type":"string"}]'))
    settings: dict[str, Any] = {"value_format": "avro", "schema_registry_url": registry.url}
    stage = await set_up(1, **settings)
    user = new_user()
    client = await stage.open(user)

    async def write(number: int, size: int) -> None:
        length = 2 * size
        zigzag = bytes([length & 127 | 128, length >> 7 & 127 | 128, length >> 14])
        value = framed(5, number) + zigzag + b"x" * size
        await stage.write.record(user.encode(), value, headers=list(TYPE), partition=0)

    for number, size in ((1, 100_000), (2, 20_000), (3, 200_000)):
        await write(number, size)
    await client.wait_for(3)
    await client.drop()
    for number, size in ((4, 100_000), (5, 20_000)):
        await write(number, size)
    await client.reconnect()
    await client.wait_for(5)
    second = await stage.start(**settings)
    since = str(int(time.time()) - 600)
    replayed = await open_stream(second, user, [("since", since)])
    await replayed.wait_for(5)
    for each in (client, replayed):
        assert [json.loads(data)["n"] for data in each.data] == [1, 2, 3, 4, 5]
        assert gaps(each) == []


class Sourced:
    """A topic that a file of sources names, and the settings of a worker that serves it."""

    def __init__(self, topics: Topics, file: Path, text: str) -> None:
        self.topic = topics.user
        self._topics = topics
        self._file = file
        file.write_text(text.replace("TOPIC", self.topic))

    @property
    def settings(self) -> dict[str, str]:
        own = {name: value for name, value in self._topics.settings.items() if "_" in name[8:]}
        own.pop("GATEWAY_BROADCAST_TOPIC", None)
        return {**own, "GATEWAY_SOURCES": str(self._file)}


AVRO_SOURCE = """
[[source]]
topic = "TOPIC"
key = "customer:{user}"
format = "avro"
type = "order.{field:kind}"
data = "field:total"
"""


async def test_source_with_a_mapping_takes_type_and_data_from_the_decoded_value(
    registry: ServedRegistry,
    topics: MakeTopics,
    start_worker: StartWorker,
    open_stream: OpenStream,
    producer: AIOKafkaProducer,
    tmp_path: Path,
) -> None:
    order = (
        '{"type":"record","name":"O","fields":[{"name":"kind","type":"string"},'
        '{"name":"total","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}}]}'
    )
    registry.add("ids/8", order)
    sourced = Sourced(await topics(1), tmp_path / "sources.toml", AVRO_SOURCE)
    worker = await start_worker(sourced, schema_registry_url=registry.url)
    user = new_user()
    client = await open_stream(worker, user)
    value = b"\0\0\0\0\x08" + b"\x08paid" + b"\x04\x04\xd2"
    await producer.send_and_wait(sourced.topic, value, key=f"customer:{user}".encode())
    await client.wait_for(1)
    (event,) = client.events
    assert (event.type, event.data) == ("order.paid", '"12.34"')


PAID = (
    '{"type":"record","name":"Paid","fields":[{"name":"kind","type":"string"},'
    '{"name":"count","type":"int"}]}'
)
PAID_JSON = '{"type":"object","properties":{"count":{"type":"integer"}},"required":["count"]}'


def serialised(url: str, avro: str, protobuf: str, json_schema: str) -> dict[str, list[bytes]]:
    """Return values as Confluent's serialisers write them, by topic; registers their schemas."""
    with SchemaRegistryClient({"url": f"{url}/apis/ccompat/v7"}) as client:
        writers = {
            avro: (AvroSerializer(client, PAID), {"kind": "paid", "count": 1}),
            protobuf: (
                ProtobufSerializer(Money, client, {"use.deprecated.format": False}),
                Money(currency_code="EUR", units=2**60),
            ),
            json_schema: (JSONSerializer(PAID_JSON, client), {"count": 2**60, "é": [1.50]}),
        }
        return {
            topic: [write(value, SerializationContext(topic, MessageField.VALUE))]
            for topic, (write, value) in writers.items()
        }


@pytest.mark.parametrize("broker", ["kafka"], indirect=True, scope="session")
async def test_real_serialisers_write_and_a_real_registry_answers(
    topics: MakeTopics,
    start_worker: StartWorker,
    open_stream: OpenStream,
    producer: AIOKafkaProducer,
    tmp_path: Path,
) -> None:
    async with apicurio(tmp_path) as url:
        made = await topics(1), await topics(1), await topics(1)
        kinds = dict(zip([each.user for each in made], ValueFormat, strict=True))
        avro, protobuf, json_schema = kinds
        values = await asyncio.to_thread(serialised, url, avro, protobuf, json_schema)
        values[avro].append(await serialised_by_java(url, avro, PAID, "refunded", 2))
        tables = [
            f'[[source]]\ntopic = "{topic}"\nformat = "{kind}"\ntype = "{kind}.written"\n'
            for topic, kind in kinds.items()
        ]
        sourced = Sourced(made[0], tmp_path / "sources.toml", "".join(tables))
        worker = await start_worker(
            sourced,
            schema_registry_url=f"{url}/apis/ccompat/v7",
            schema_wait_seconds=60,
        )
        user = new_user()
        stream = await open_stream(worker, user)
        for topic, written in values.items():
            for value in written:
                await producer.send_and_wait(topic, value, key=user.encode())
        # The header form of the first value of each topic: the frame is a header of the record.
        for topic, size in ((avro, 5), (protobuf, 6), (json_schema, 5)):
            value = values[topic][0]
            headers = [(HEADER, value[:size])]
            await producer.send_and_wait(topic, value[size:], key=user.encode(), headers=headers)
        await stream.wait_for(7)
        found: dict[str, list[object]] = {kind: [] for kind in kinds.values()}
        for event in stream.events:
            found[event.type.removesuffix(".written")].append(json.loads(event.data))
        paid, money = {"kind": "paid", "count": 1}, {"currencyCode": "EUR", "units": str(2**60)}
        assert found == {
            "avro": [paid, {"kind": "refunded", "count": 2}, paid],
            "protobuf": 2 * [{**money, "nanos": 0}],
            "json-schema": 2 * [{"count": 2**60, "é": [1.5]}],
        }


async def serialised_by_java(url: str, topic: str, schema: str, kind: str, count: int) -> bytes:
    """Return a value as the registry's Java serialiser writes it."""
    require("java", "javac", "mvn")
    jars = await asyncio.to_thread(serialiser_jars)
    source = Path(schemas.__file__).parent / "java" / "Serialise.java"
    process = await asyncio.create_subprocess_exec(
        *(*JAVA, "-cp", f"{jars}/*", str(source), url, topic, schema, kind, str(count)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return b64decode(out.split()[-1])


async def test_only_the_partition_of_a_record_waits_for_its_schema(
    set_up: SetUp, registry: ServedRegistry
) -> None:
    stage = await set_up(
        2, value_format="avro", schema_registry_url=registry.url, schema_wait_seconds=60
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
        1, value_format="avro", schema_registry_url=registry.url, schema_wait_seconds=2
    )
    user = new_user()
    client = await stage.open(user)
    filtered = await stage.open(user, [("types", "import.completed")])
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
    await stage.worker.wait_for_metric("gateway_gaps_total", 1, reason="schema")
    registry.broken = False

    async def delivered() -> bool:
        await write(stage, user, 2, 4)
        await asyncio.sleep(0.2)
        return 4 in client.numbers

    await eventually("the schema is known", delivered)


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
        clients[found[partition]] = await stage.open(found[partition])
    return clients
