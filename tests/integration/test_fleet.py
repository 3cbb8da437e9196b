"""The fleet: each worker tells how it is going, and every worker shows all of them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

import aiohttp
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.brokers.metadata import create_topics
from tests.child import free_port
from tests.commands.command import gateway
from tests.conftest import Broker, MakeTopics, StartWorker, compacted
from tests.eventually import eventually
from tests.integration.conftest import OpenStream, SetUp, new_user
from tests.kafka.test_publisher import records_of
from tests.records import RecordWriter, Topics
from tests.worker import Worker


async def fleet_of(worker: Worker, http: aiohttp.ClientSession) -> dict[str, Any]:
    async with http.get(f"{worker.ops_url}/ops/fleet") as response:
        assert response.status == 200
        return dict(await response.json())


async def own_status(worker: Worker, http: aiohttp.ClientSession) -> dict[str, Any]:
    async def find() -> list[dict[str, Any]]:
        workers = (await fleet_of(worker, http))["workers"]
        return [status for status in workers if status["ops_url"] == worker.ops_url]

    [own] = await eventually("the worker has a status", find)
    return dict(own)


async def until(
    worker: Worker, http: aiohttp.ClientSession, what: str, wanted: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Return the fleet, by the workers' names, once it is as wanted."""
    seen: dict[str, Any] = {}

    async def so() -> bool:
        seen.clear()
        seen.update({each["worker"]: each for each in (await fleet_of(worker, http))["workers"]})
        return wanted(seen)

    await eventually(what, so)
    return seen


async def test_every_worker_shows_the_status_of_all_workers(
    topics: MakeTopics,
    start_worker: StartWorker,
    open_stream: OpenStream,
    producer: AIOKafkaProducer,
    http: aiohttp.ClientSession,
    user: str,
) -> None:
    served = await topics(workers=2)
    first, second = await start_worker(served), await start_worker(served)
    client = await open_stream(second, user)
    await RecordWriter(producer, served).numbered(user, range(5))
    await client.wait_for(5)
    name = (await own_status(second, http))["worker"]

    fleet = await until(
        first,
        http,
        "the first worker shows what the second one has sent",
        lambda fleet: len(fleet) == 2 and has_sent(fleet[name], 5),
    )

    status = fleet[name]
    assert status["state"] == "ready"
    assert status["doubts"] == []
    assert status["streams"] == status["connections"] == 1
    assert status["records"] >= 5
    assert status["partitions_read"] == 2
    [user_log] = [load for load in status["partitions"] if load["log"] == "user"]
    assert user_log["streams"] == 1
    assert sum(status["delivery"]["counts"]) == 5
    assert status["resident_bytes"] > 10_000_000
    assert status["cpu_seconds"] > 0
    assert user not in json.dumps(fleet)


def has_sent(status: dict[str, Any], count: int) -> bool:
    """Return whether a status counts those events and no lag; the lag is measured now and then."""
    return bool(status["events"]["live"] == count and status["lag"] == 0)


async def test_clients_of_a_drain_return_soon_if_another_worker_is_ready(
    topics: MakeTopics,
    start_worker: StartWorker,
    open_stream: OpenStream,
    http: aiohttp.ClientSession,
    user: str,
) -> None:
    served = await topics(workers=1)
    first, second = await start_worker(served), await start_worker(served)

    def both_ready(fleet: dict[str, Any]) -> bool:
        return [each["state"] for each in fleet.values()] == ["ready", "ready"]

    await until(first, http, "both are ready", both_ready)
    client = await open_stream(first, user)
    await client.wait_for(lambda client: client.last_event_id)

    first.signal(signal.SIGTERM)
    await client.wait_for_end()
    assert client.own("close") == ['{"reason":"draining"}']
    assert client.retry is not None
    assert 100 <= client.retry <= 400

    await client.reconnect(url=second.events_url)
    await client.wait_for(lambda client: 1500 <= (client.retry or 0) <= 4500)


async def test_a_worker_that_is_killed_is_shown_as_gone_and_one_that_ends_at_once(
    broker: Broker, topics: MakeTopics, start_worker: StartWorker, http: aiohttp.ClientSession
) -> None:
    served = await topics(workers=1)
    watching, killed, ending = [await start_worker(served) for _ in range(3)]
    names = {each: (await own_status(each, http))["worker"] for each in (killed, ending)}
    await until(watching, http, "all are shown", lambda fleet: len(fleet) == 3)

    os.kill(killed.pid, signal.SIGKILL)
    ending.signal(signal.SIGTERM)
    assert ending.wait() == 0
    await until(
        watching,
        http,
        "the one that has ended is gone",
        lambda fleet: fleet[names[ending]]["state"] == "gone",
    )
    last = {record.key: record.value for record in await records_of(broker, served.workers, 1)}
    assert last[names[ending].encode()] is None, "it has removed its record itself"
    assert json.loads(last[names[killed].encode()])["state"] == "ready"
    fleet = await until(
        watching,
        http,
        "the one that was killed is gone",
        lambda fleet: fleet[names[killed]]["state"] == "gone",
    )
    assert fleet[names[killed]]["age_seconds"] > 9


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
        lambda fleet: [each["state"] for each in fleet.values()] == ["ready"],
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
    assert len((await fleet_of(stage.worker, http))["workers"]) == 1


async def test_a_users_streams_are_shown_and_ended_by_name_and_all_together(
    worker: Worker,
    user: str,
    open_stream: OpenStream,
    write: RecordWriter,
    http: aiohttp.ClientSession,
) -> None:
    clients = [await open_stream(worker, user) for _ in range(3)]
    await write.numbered(user, range(2))
    for client in clients:
        await client.wait_for(2)
    where = f"{worker.ops_url}/ops/streams"

    async with http.get(where, params={"user": user}) as response:
        shown = (await response.json())["streams"]
    assert len({stream["stream"] for stream in shown}) == 3
    stream = shown[0]
    assert stream["user"] == user
    assert stream["state"] == "live"
    assert stream["address"] == "127.0.0.1"
    assert stream["events"] == 2
    assert stream["lag"] == 0
    assert stream["id"] == clients[0].last_event_id
    assert stream["bytes"] is None or stream["bytes"] > 200
    assert [place["log"] for place in stream["cursor"]] == ["user", "broadcast"]
    assert stream["cursor"][0]["partition"] == stream["partition"]
    assert stream["cursor"][0]["offset"] >= 2

    async with http.delete(f"{where}/{stream['stream']}") as response:
        assert await response.json() == {"ended": 1}
    await clients[0].wait_for_end()
    assert clients[0].own("close") == ['{"reason":"closed"}']
    assert clients[1].is_open
    async with http.delete(f"{where}/{stream['stream']}") as response:
        assert response.status == 404
        assert "ended at their worker" in (await response.json())["detail"]

    async with http.delete(where) as response:
        assert response.status == 400, "a user is required"
    async with http.delete(where, params={"user": user}) as response:
        assert await response.json() == {"ended": 2}
    for client in clients[1:]:
        await client.wait_for_end()
    async with http.get(where, params={"user": user}) as response:
        assert (await response.json())["streams"] == []


async def test_a_stream_that_is_stuck_is_shown_so(
    set_up: SetUp, http: aiohttp.ClientSession, user: str
) -> None:
    stage = await set_up()
    client = await stage.open(user)
    client.stall()
    for _ in range(40):
        await stage.write.event(user, data=b'"' + b"x" * 200_000 + b'"')

    async def stuck() -> bool:
        async with http.get(
            f"{stage.worker.ops_url}/ops/streams", params={"user": user}
        ) as response:
            [stream] = (await response.json())["streams"]
        return bool(
            stream["state"] == "stuck"
            and stream["waiting_bytes"] > 0
            and stream["lag"] > 0
            and stream["stuck_seconds"] >= 0
        )

    await eventually("the stream is stuck", stuck)


async def test_the_commands_print_tables_json_and_what_to_do(set_up: SetUp, user: str) -> None:
    stage = await set_up(ops_token="a-token")
    client = await stage.open(user)
    settings = {"ops_listen": f"127.0.0.1:{stage.worker.ops_port}", "ops_token": "a-token"}

    async def is_ready() -> bool:  # a status is renewed every few seconds
        listed = json.loads((await gateway("fleet", "--json", settings=settings)).out)
        return bool(listed["workers"][0]["state"] == "ready")

    await eventually("the status says that the worker is ready", is_ready)
    shown = await gateway("fleet", settings=settings)
    assert shown.code == 0, shown
    assert "ready" in shown.out
    assert "GATEWAY_WORKERS_TOPIC" in shown.err

    shown = await gateway("streams", "--user", user, settings=settings)
    assert shown.code == 0, shown
    assert "live" in shown.out
    listed = json.loads((await gateway("streams", "--user", user, "--json", settings=settings)).out)
    [stream] = listed["streams"]
    other = await gateway("streams", "--user", user, "--only", "none", "--end", settings=settings)
    assert other.out.strip() == "no streams"
    ended = await gateway("streams", "--user", user, "--end", settings=settings)
    assert f"ended: {stream['stream']}" in ended.out
    await client.wait_for_end()
    assert client.own("close") == ['{"reason":"closed"}']

    refused = await gateway("fleet", settings={**settings, "ops_token": "another"})
    assert refused.code == 1
    assert "GATEWAY_OPS_TOKEN" in refused.err
    away = await gateway("fleet", "--url", f"http://127.0.0.1:{free_port()}")
    assert away.code == 1
    assert "--url" in away.err
