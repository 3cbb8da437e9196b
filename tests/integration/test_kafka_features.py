"""What Kafka does to records on their way: transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer

from tests.records import envelope, numbered

if TYPE_CHECKING:
    from tests.conftest import Broker, MakeTopics, StartWorker
    from tests.integration.conftest import OpenStream


@pytest.mark.parametrize("broker", ["kafka"], indirect=True, scope="session")
@pytest.mark.parametrize("tail_bytes", [1_000_000, 1_000], ids=["memory", "replay"])
async def test_only_committed_events_arrive_live_and_resumed(
    broker: Broker,
    topics: MakeTopics,
    start_worker: StartWorker,
    open_stream: OpenStream,
    user: str,
    tail_bytes: int,
) -> None:
    served = await topics(1)
    worker = await start_worker(served, tail_bytes=tail_bytes, tail_warm_seconds=0)
    client = await open_stream(worker, user)
    await client.wait_for(lambda client: client.last_event_id)
    begin = client.last_event_id
    async with AIOKafkaProducer(
        bootstrap_servers=broker.bootstrap, transactional_id=user
    ) as producer:
        for number in range(10):
            await producer.begin_transaction()
            await producer.send(
                served.user, envelope(user, data=numbered(number)), key=user.encode()
            )
            if number % 2:
                await producer.abort_transaction()
            else:
                await producer.commit_transaction()

    await client.wait_for(5)
    assert client.numbers == [0, 2, 4, 6, 8]
    for event_id in (begin, *(event.last_event_id for event in client.events[:-1])):
        again = await open_stream(worker, user, headers={"Last-Event-ID": event_id})
        await again.wait_for(lambda client: client.data and client.numbers[-1] == 8)
        assert again.own("gap") == []
        assert again.numbers == [n for n in client.numbers if n in again.numbers]
        await again.drop()
    assert again.numbers == [8]
