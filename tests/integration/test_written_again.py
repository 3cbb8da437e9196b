"""The job of docs/existing-topics.md: records get the user as the key, and are served."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from tests.brokers.metadata import create_topics
from tests.child import Child
from tests.conftest import Broker, StartWorker
from tests.docs.markdown import ROOT, blocks
from tests.integration.conftest import OpenStream, new_user
from tests.integration.test_sources_page import WithoutTopics
from tests.programs import require
from tests.writers.fetched import streams_jars
from tests.writers.programs import JAVA

PAGE = [ROOT / "docs/existing-topics.md"]


@pytest.mark.parametrize("broker", ["kafka"], indirect=True, scope="session")
async def test_records_that_kafka_streams_writes_again_reach_their_users_once_and_in_order(
    tmp_path: Path,
    broker: Broker,
    start_worker: StartWorker,
    open_stream: OpenStream,
    producer: AIOKafkaProducer,
) -> None:
    require("java", "javac", "mvn")
    alice, bob = new_user(), new_user()
    orders, by_customer = f"orders-{alice}", f"orders-by-customer-{alice}"
    await create_topics(broker.bootstrap, [NewTopic(orders, 2, 1), NewTopic(by_customer, 3, 1)])
    (toml,) = blocks("toml", documents=PAGE)
    file = tmp_path / "sources.toml"
    file.write_text(re.sub(r"orders-by-customer", by_customer, toml.text))
    settings: dict[str, Any] = {"sources": file, "revocations_topic": "", "workers_topic": ""}
    worker = await start_worker(WithoutTopics("", ""), **settings)
    clients = [await open_stream(worker, user) for user in (alice, bob)]

    async def order(number: int, customer: str | None, state: bytes = b"paid") -> None:
        named = b"" if customer is None else b'"customer": "%b", ' % customer.encode()
        value = b'{%b"order": %d, "state": "%b"}' % (named, number, state)
        # The key of an order is its number: one partition has the orders of several customers.
        await producer.send_and_wait(orders, value, key=b"%d" % number, partition=0)

    await order(1, alice)
    await order(2, bob)
    await order(3, None)
    await producer.send_and_wait(orders, b"not JSON", partition=0)
    (job,) = blocks("java", documents=PAGE)
    source = tmp_path / "ByCustomer.java"
    source.write_text(job.text)
    command = [*JAVA, f"-Djava.io.tmpdir={tmp_path}", "-cp", f"{streams_jars()}/*", str(source)]
    running = Child([*command, broker.bootstrap, orders, by_customer], tmp_path / "output")
    try:
        await clients[0].wait_for(1)
        await order(4, alice, b"shipped")
        await order(5, bob, b"shipped")
        await clients[1].wait_for(2)
        await clients[0].wait_for(2)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{running.log()}") from None
    finally:
        running.end()
    for client, numbers in zip(clients, ([1, 4], [2, 5]), strict=True):
        assert [event.type for event in client.events] == ["order.paid", "order.shipped"]
        assert [
            f'"order": {number},' in event.data
            for event, number in zip(client.events, numbers, strict=True)
        ] == [True, True]
