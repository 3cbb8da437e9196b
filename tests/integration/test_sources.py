"""Several topics: two for users, one for groups, one for broadcasts."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from gateway.core.event_id import CursorEntry, encode, parse
from gateway.core.records import OffsetPosition, TimePosition
from gateway.core.source import name_mark
from tests.brokers.metadata import create_topics
from tests.client import StreamClient
from tests.conftest import Broker, StartWorker
from tests.eventually import eventually
from tests.integration.conftest import OpenStream, new_user
from tests.integration.test_changed_topics import delete, only_kafka, reasons, recreate
from tests.records import Topics, envelope
from tests.tokens import mint
from tests.worker import status

SOURCES = """
[[source]]
topic = "{orders}"
key = "customer:{{user}}"
type = "order.{{header:kind}}"

[[source]]
topic = "{payments}"

[[source]]
topic = "{teams}"
audience = "group"
key = "team:{{group}}"
groups = "org.teams"
type = "team.note"

[[source]]
topic = "{news}"
audience = "all"
"""


class Sourced(NamedTuple):
    """Four topics, and the settings of a worker that serves them."""

    orders: str
    payments: str
    teams: str
    news: str
    file: str

    @property
    def settings(self) -> dict[str, str]:
        return {
            "GATEWAY_SOURCES": self.file,
            "GATEWAY_REVOCATIONS_TOPIC": "",
            "GATEWAY_WORKERS_TOPIC": "",
        }


class Company:
    """Writes the records of each topic; the payload of each event is its number."""

    def __init__(self, producer: AIOKafkaProducer, topics: Sourced) -> None:
        self._producer = producer
        self.topics = topics

    async def order(self, user: str, number: int) -> None:
        headers = [("kind", b"shipped")]
        await self._send(self.topics.orders, f"customer:{user}", b'{"n":%d}' % number, headers)

    async def payment(self, user: str, number: int) -> None:
        value = envelope(user, "payment.received", b'{"n":%d}' % number)
        await self._send(self.topics.payments, user, value)

    async def note(self, team: str, number: int) -> None:
        await self._send(self.topics.teams, f"team:{team}", b'{"n":%d}' % number)

    async def news(self, number: int) -> None:
        value = envelope("", "news.published", b'{"n":%d}' % number)
        await self._producer.send_and_wait(self.topics.news, value, partition=0)

    async def _send(self, topic: str, key: str, value: bytes, headers: Any = ()) -> None:
        await self._producer.send_and_wait(topic, value, key=key.encode(), headers=list(headers))


@pytest.fixture
def sourced(tmp_path: Path) -> Sourced:
    names: dict[str, str] = {}
    while len({name_mark(name) for name in names.values()}) < 4:  # marks have 14 bits
        suffix = uuid.uuid4().hex[:8]
        names = {name: f"{name}-{suffix}" for name in ("orders", "payments", "teams", "news")}
    file = tmp_path / "sources.toml"
    file.write_text(SOURCES.format(**names))
    return Sourced(**names, file=str(file))


async def create(broker: Broker, topics: Sourced, *names: str, partitions: int = 3) -> None:
    wanted = [
        NewTopic(getattr(topics, name), 1 if name == "news" else partitions, 1) for name in names
    ]
    await create_topics(broker.bootstrap, wanted)


@pytest.fixture
async def company(broker: Broker, producer: AIOKafkaProducer, sourced: Sourced) -> Company:
    await create(broker, sourced, "orders", "payments", "teams", "news")
    return Company(producer, sourced)


def token_of(user: str, *teams: str) -> str:
    return mint(user, org={"teams": list(teams)})


def types(client: StreamClient) -> list[str]:
    return [event.type for event in client.events if not event.type.startswith("stream.")]


async def test_a_stream_gets_events_of_all_sources_and_resumes_in_each(
    start_worker: StartWorker, open_stream: OpenStream, company: Company
) -> None:
    worker = await start_worker(company.topics)
    other = await start_worker(company.topics)
    user, red, blue = new_user(), new_user(), new_user()
    client = await open_stream(worker, user, token=token_of(user, red, blue))
    colleague = await open_stream(worker, new_user(), token=token_of(new_user(), red))
    assert len(client.last_event_id) in (101, 126), "one or two partitions of groups"

    await company.order(user, 1)
    await company.payment(user, 2)
    await company.note(red, 3)
    await company.note(blue, 4)
    await company.note("green", 99)
    await company.news(5)
    await client.wait_for(5)
    await colleague.wait_for(2)
    assert sorted(client.numbers) == [1, 2, 3, 4, 5]
    assert sorted(colleague.numbers) == [3, 5]
    assert set(types(client)) == {
        "order.shipped",
        "payment.received",
        "team.note",
        "news.published",
    }

    await client.drop()
    await company.note(blue, 6)
    await company.order(user, 7)
    await client.reconnect(url=other.events_url)
    await company.payment(user, 8)
    await client.wait_for(8)
    assert sorted(client.numbers) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert client.own("gap") == []


async def test_a_token_with_fewer_groups_ends_the_events_of_the_others(
    start_worker: StartWorker, open_stream: OpenStream, company: Company
) -> None:
    worker = await start_worker(company.topics)
    user, red, blue = new_user(), new_user(), new_user()
    client = await open_stream(worker, user, token=token_of(user, red, blue))
    await company.note(red, 1)
    await company.note(blue, 2)
    await client.wait_for(2)
    await client.drop()
    for number in range(3, 6):
        await company.note(blue, number)
    await client.reconnect(token=token_of(user, red))
    await company.note(blue, 6)
    await company.note(red, 7)
    await client.wait_for(3)
    await company.order(user, 8)
    await client.wait_for(4)
    assert sorted(client.numbers) == [1, 2, 7, 8]
    assert client.own("gap") == []


async def test_no_id_or_query_shows_a_group_that_the_token_does_not_name(
    start_worker: StartWorker, open_stream: OpenStream, company: Company
) -> None:
    worker = await start_worker(company.topics)
    member, user, secret = new_user(), new_user(), new_user()
    reader = await open_stream(worker, member, token=token_of(member, secret))
    for number in range(3):
        await company.note(secret, number)
        await company.order(member, 10 + number)
    await reader.wait_for(6)
    stolen = parse(reader.last_event_id)
    marks = [name_mark(getattr(company.topics, name)) for name in company.topics._fields[:4]]
    tags = {entry.mark: entry.tag for entry in stolen}
    forged = [
        CursorEntry(None, tags.get(mark, mark + b"abc"), partition, position)
        for mark in marks
        for partition in range(3)
        for position in [OffsetPosition(0, 0, False)]
    ]
    hostile = [
        reader.last_event_id,
        encode(forged).decode(),
        encode([entry._replace(position=TimePosition(0)) for entry in forged]).decode(),
        encode([entry._replace(tag=entry.mark + b"xyz") for entry in forged]).decode(),
    ]
    clients = []
    for token in (token_of(user), token_of(user, f"{secret}x"), mint(user)):
        for last in hostile:
            headers = {"Last-Event-ID": last}
            params = [("since", "1000"), ("groups", secret), ("teams", secret), ("shard", "0")]
            clients.append(await open_stream(worker, user, params, headers, token=token))
    await company.note(secret, 90)
    await company.order(member, 91)
    await company.payment(user, 5)
    await reader.wait_for(8)
    for client in clients:
        await client.wait_for(lambda client: 5 in client.numbers)
        assert client.numbers == [5]


async def test_a_missing_topic_degrades_the_worker_and_is_served_once_it_exists(
    start_worker: StartWorker,
    open_stream: OpenStream,
    broker: Broker,
    sourced: Sourced,
    producer: AIOKafkaProducer,
    http: aiohttp.ClientSession,
) -> None:
    await create(broker, sourced, "payments", "teams", "news")
    company = Company(producer, sourced)
    worker = await start_worker(sourced)
    assert await status(http, f"{worker.ops_url}/readyz") == 200
    async with http.get(f"{worker.ops_url}/readyz") as response:
        report = await response.json()
    assert report["ready"] is True
    [reason] = report["reasons"]
    assert reason["reason"] == "topics"
    assert f"topic {sourced.orders} missing" in reason["detail"]

    user, red = new_user(), new_user()
    client = await open_stream(worker, user, token=token_of(user, red))
    await company.payment(user, 1)
    await company.note(red, 2)
    await client.wait_for(2)

    await create(broker, sourced, "orders")
    await company.order(user, 3)
    await client.wait_for(3)
    assert sorted(client.numbers) == [1, 2, 3]

    async def whole() -> bool:
        async with http.get(f"{worker.ops_url}/readyz") as response:
            return bool((await response.json())["reasons"] == [])

    await eventually("no topic is missing", whole)
    assert {entry.mark for entry in parse(client.last_event_id)} >= {name_mark(sourced.orders)}


@only_kafka
async def test_a_position_in_a_missing_topic_is_kept_until_the_topic_exists(
    start_worker: StartWorker, open_stream: OpenStream, broker: Broker, company: Company
) -> None:
    topics = company.topics
    first = await start_worker(topics)
    user = new_user()
    client = await open_stream(first, user, token=token_of(user))
    await company.order(user, 1)
    await client.wait_for(1)
    await client.drop()
    [before] = [e for e in parse(client.last_event_id) if e.mark == name_mark(topics.orders)]
    await delete(broker.bootstrap, topics.orders)

    second = await start_worker(topics)
    await client.reconnect(url=second.events_url)
    await company.payment(user, 2)
    await client.wait_for(2)
    assert before in parse(client.last_event_id)
    await create(broker, topics, "orders")

    async def written() -> bool:
        await company.order(user, 3)
        return True

    await eventually("the new topic takes a record", written)
    await client.wait_for(lambda client: 3 in client.numbers)
    assert reasons(client) == ["reset"]
    [after] = [e for e in parse(client.last_event_id) if e.mark == name_mark(topics.orders)]
    assert after.tag != before.tag


@only_kafka
async def test_one_recreated_topic_resets_its_own_events_only(
    start_worker: StartWorker, open_stream: OpenStream, broker: Broker, company: Company
) -> None:
    worker = await start_worker(company.topics)
    user = new_user()
    client = await open_stream(worker, user, token=token_of(user))
    await company.order(user, 1)
    await company.payment(user, 2)
    await client.wait_for(2)
    await recreate(broker.bootstrap, company.topics.orders, 3)

    async def written() -> bool:
        await company.order(user, 3)
        return True

    await eventually("the new topic takes a record", written)
    await company.payment(user, 4)
    await client.wait_for(lambda client: {3, 4} <= set(client.numbers))
    assert reasons(client) == ["reset"]
    assert json.loads(client.own("gap")[0])["log"] == "user"
    assert [number for number in client.numbers if number in (2, 4)] == [2, 4]


async def test_ids_of_a_worker_without_sources_are_resumed_by_one_with_sources_and_back(
    start_worker: StartWorker, open_stream: OpenStream, company: Company
) -> None:
    plain = await start_worker(Topics(company.topics.payments, company.topics.news))
    sourced = await start_worker(company.topics)
    user = new_user()
    client = await open_stream(plain, user, token=token_of(user))
    await company.payment(user, 1)
    await client.wait_for(1)
    assert client.last_event_id[0] == "1"
    await client.drop()
    await company.payment(user, 2)
    await company.news(3)
    await client.reconnect(url=sourced.events_url)
    await client.wait_for(3)
    await company.order(user, 4)
    await client.wait_for(4)
    assert client.last_event_id[0] == "2"
    await client.drop()
    await company.payment(user, 5)
    await client.reconnect(url=plain.events_url)
    await client.wait_for(5)
    assert sorted(client.numbers) == [1, 2, 3, 4, 5]
    assert client.own("gap") == []
