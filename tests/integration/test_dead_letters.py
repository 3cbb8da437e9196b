"""Skipped records in the dead-letter topic."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from tests.conftest import Broker
from tests.eventually import eventually
from tests.integration.conftest import SetUp, new_user


async def test_skipped_records_are_written_with_their_place_and_do_not_stop_delivery(
    broker: Broker, set_up: SetUp
) -> None:
    dead = f"dead-{new_user()}"
    stage = await set_up(1, dead_letter_topic=dead, create_topics="true")
    user = new_user()
    client = await stage.open(user)
    await client.wait_for(lambda client: client.last_event_id)
    bad = await stage.write.record(user.encode(), b"not JSON", headers=[("x", b"y")])
    await stage.write.record(new_user().encode(), b"not JSON")  # no stream needs it
    await stage.write.record(user.encode(), None)
    await stage.write.event(user)
    await client.wait_for(1)

    async def written() -> bool:
        result = "written"
        return await stage.worker.metric("gateway_dead_letters_total", result=result) == 1

    await eventually("the record is written", written)
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap)
    await consumer.start()
    try:
        place = TopicPartition(dead, 0)
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        letter = await consumer.getone()
    finally:
        await consumer.stop()
    headers = dict(letter.headers)
    assert (letter.key, letter.value) == (user.encode(), b"not JSON")
    assert headers["x"] == b"y"
    assert headers["gateway.reason"] == b"not_json"
    assert headers["gateway.topic"] == stage.topics.user.encode()
    assert headers["gateway.offset"] == str(bad.offset).encode()
