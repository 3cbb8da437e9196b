"""The fleet: each worker tells how it is going, and every worker shows all of them."""

from __future__ import annotations

import json
import os
import signal

import aiohttp
from aiokafka import AIOKafkaProducer

from tests.child import free_port
from tests.commands.command import gateway
from tests.conftest import Broker, MakeTopics, StartWorker
from tests.eventually import eventually
from tests.integration.conftest import OpenStream, SetUp
from tests.integration.fleet import has_sent, own_status, states_of, until
from tests.kafka.test_publisher import records_of
from tests.records import RecordWriter
from tests.worker import Worker


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


async def test_clients_of_a_drain_return_soon_if_another_worker_is_ready(
    topics: MakeTopics,
    start_worker: StartWorker,
    open_stream: OpenStream,
    http: aiohttp.ClientSession,
    user: str,
) -> None:
    served = await topics(workers=1)
    first, second = await start_worker(served), await start_worker(served)
    client = await open_stream(first, user)

    await until(first, http, "both are ready", lambda fleet: states_of(fleet) == ["ready"] * 2)
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
    await until(watching, http, "all are ready", lambda fleet: states_of(fleet) == ["ready"] * 3)

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
        return [each["state"] for each in listed["workers"]] == ["ready"]

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
