"""The topic of workers: missing, created, or with invalid records."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import aiohttp
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.brokers.metadata import create_topics
from tests.commands.command import gateway
from tests.conftest import Broker, MakeTopics, StartWorker, compacted
from tests.eventually import eventually
from tests.integration.conftest import OpenStream, SetUp, new_user
from tests.integration.fleet import fleet_of, own_status, states_of, until
from tests.records import RecordWriter, Topics

SPOILT: list[dict[str, object]] = [
    {"delivery": {"bounds": [0.1], "counts": [1]}},
    {"delivery": {"bounds": [], "counts": [1]}},
    {"number": -1},
    {"number": 10**40},
    {"streams": -5},
    {"cpu_share": 1e300},
    {"at": 1 << 62},
    {"gaps": {str(number): number for number in range(1000)}},
    {"doubts": [{"reason": "kafka", "detail": "\ud83d"}]},
    {"state": ["ready"]},
    {"time_off": {"topic": "t", "partition": 0, "offset": 0, "seconds": 1 << 62}},
]


def has_number(number: int, fleet: dict[str, Any]) -> bool:
    return bool(fleet.get("later", {}).get("number") == number)


async def test_spoilt_statuses_stop_no_worker_and_no_stream(
    topics: MakeTopics,
    start_worker: StartWorker,
    open_stream: OpenStream,
    producer: AIOKafkaProducer,
    http: aiohttp.ClientSession,
    user: str,
) -> None:
    served = await topics(workers=1)
    worker = await start_worker(served)
    client = await open_stream(worker, user)

    async def write(key: bytes, value: bytes) -> None:
        await producer.send_and_wait(served.workers, value, key=key)

    for turn in range(2):
        for number, fields in enumerate(SPOILT):
            name = f"spoilt-{number}"
            status = {"worker": name, "number": turn + 1, "state": "ready", **fields}
            await write(name.encode(), json.dumps(status).encode())
        for junk in (b"", b"junk", b"[]", b'{"worker":"\xff"}', b"[" * 10_000):
            await write(b"junk", junk)
            await write(b"\xff", junk)
            await write(b"", junk)
        other = {"bounds": [0.5, 5.0], "counts": [turn, 2 * turn, 0]}
        later = {"worker": "later", "number": turn + 1, "state": "resting", "news": {"a": [1]}}
        await write(b"later", json.dumps({**later, "delivery": other}).encode())
        await until(
            worker,
            http,
            f"the later version is shown, turn {turn}",
            partial(has_number, turn + 1),
        )

    await RecordWriter(producer, served).numbered(user, range(5))
    await client.wait_for(5)
    fleet = (await fleet_of(worker, http))["workers"]
    assert {each["worker"] for each in fleet if each["worker"].startswith("spoilt")} == set()
    async with http.get(f"{worker.ops_url}/ops/events") as response:
        assert b"event: fleet" in await response.content.readuntil(b"event: fleet")
    async with http.get(f"{worker.ops_url}/readyz") as response:
        assert response.status == 200
    assert await worker.metric("gateway_unreadable_records_total", reason="wrong_shape") > 0
    assert await worker.metric("gateway_internal_errors_total") == 0
    shown = await gateway("fleet", settings={"ops_listen": f"127.0.0.1:{worker.ops_port}"})
    assert "later" in shown.out


async def test_worker_without_the_fleet_topic_serves_and_logs_once_how_to_create_it(
    broker: Broker, topics: MakeTopics, start_worker: StartWorker, http: aiohttp.ClientSession
) -> None:
    served = (await topics())._replace(workers=f"gateway-workers-{new_user()}")
    worker = await start_worker(served)

    async def told() -> bool:
        return served.workers in (await fleet_of(worker, http))["problem"]

    await eventually("the problem is reported", told)
    line = await worker.wait_for_log("fleet status unavailable")
    assert f"--create --topic {served.workers} --partitions 1 --config cleanup.policy" in line
    await until(
        worker,
        http,
        "it is ready",
        lambda fleet: states_of(fleet) == ["ready"],
    )

    await create_topics(broker.bootstrap, [compacted(served.workers)])

    async def mended() -> bool:
        return bool((await fleet_of(worker, http))["problem"] == "")

    await eventually("the topic is found", mended)
    assert worker.log().count("fleet status unavailable") == 1


async def test_a_worker_makes_the_topic_where_it_may(
    broker: Broker, start_worker: StartWorker, http: aiohttp.ClientSession
) -> None:
    name = new_user()
    made = Topics(f"events-{name}", f"broadcast-{name}", "", f"workers-{name}")
    worker = await start_worker(made, create_topics="true")
    own = (await own_status(worker, http))["worker"]

    async with AIOKafkaConsumer(
        made.workers, bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest"
    ) as consumer:
        record = await consumer.getone()
    assert record.key.decode() == own
    assert json.loads(record.value)["worker"] == own


async def test_invalid_status_records_are_counted_and_skipped(
    set_up: SetUp, producer: AIOKafkaProducer, http: aiohttp.ClientSession
) -> None:
    stage = await set_up(workers=1)
    for key, value in ((b"x", b"{}"), (b"\xff", None), (b"y", b'{"worker":"x"}')):
        await producer.send_and_wait(stage.topics.workers, value, key=key)
    await stage.worker.wait_for_metric("gateway_unreadable_records_total", 2)
    await until(stage.worker, http, "its own status is shown", lambda fleet: len(fleet) == 1)
