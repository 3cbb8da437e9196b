"""Revoked sessions and users: off every worker within a second, and kept out."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from gateway.demo.broker import EmbeddedBroker
from tests.brokers.metadata import create_topics
from tests.commands.command import gateway, settings_of
from tests.conftest import Broker, MakeTopics, StartWorker, compacted, worker_settings
from tests.eventually import eventually
from tests.integration.conftest import OpenStream, SetUp, new_user
from tests.integration.sessions import REVOKED, Opener, answer, becomes, publishing
from tests.kafka.test_publisher import records_of
from tests.records import RecordWriter, Topics
from tests.tokens import mint
from tests.worker import Worker, status


@pytest.fixture
def opened(open_stream: OpenStream) -> Opener:
    return Opener(open_stream)


@pytest.mark.parametrize("way", ["command", "library", "event"])
async def test_a_revoked_session_is_off_every_worker_and_kept_out(
    broker: Broker,
    topics: MakeTopics,
    start_worker: StartWorker,
    opened: Opener,
    producer: AIOKafkaProducer,
    http: aiohttp.ClientSession,
    record_property: Callable[[str, object], None],
    way: str,
) -> None:
    served = await topics(1, revocations=3)
    one, two = await asyncio.gather(start_worker(served), start_worker(served))
    alice, bob = new_user(), new_user()
    victims = [await opened(one, alice, "s1"), await opened(two, alice, "s1")]
    others = [
        await opened(worker, *who)
        for worker in (one, two)
        for who in ((alice, "s2"), (bob, "s1"), (alice, None))
    ]
    write = RecordWriter(producer, served)
    await write.numbered(alice, [0])
    for victim, _ in victims:
        await victim.wait_for(1)

    begin = time.monotonic()
    if way == "command":
        finished = await gateway(
            "revoke", alice, "--session", "s1", settings=settings_of(broker, served)
        )
        assert finished.code == 0, finished.err
        begin = time.monotonic()
    elif way == "library":
        async with publishing(broker.bootstrap, served) as publisher:
            await publisher.revoke_session(alice, "s1")
    else:
        await write.event(alice, REVOKED, b'{"session_id": "s1"}')
    for victim, _ in victims:
        await victim.wait_for_end()
    took = time.monotonic() - begin
    record_property("seconds until both were off", took)
    print(f"off both workers {took * 1000:.0f} ms after it was asked for, by {way}, {broker.kind}")

    got = [[event.type for event in victim.events][1:] for victim, _ in victims]
    if way == "event":
        # The other worker may hear of it before it gets to read the event.
        assert [REVOKED, "stream.close"] in got
        got = [[name for name in types if name != REVOKED] for types in got]
    assert got == [["stream.close"]] * 2
    for victim, _ in victims:
        assert victim.own("close") == ['{"reason":"revoked"}']
    late = await start_worker(served)
    refused = await answer(late, "no token", http)
    assert refused[0] == 401
    await becomes(401, late, victims[0].token, http)  # a worker records an event's revocation soon
    for worker in (one, two, late):
        assert await answer(worker, victims[0].token, http) == refused
        assert await answer(worker, mint(alice, sid="s1", iat=None), http) == refused
        for token in {other.token for other in others}:
            assert (await answer(worker, token, http))[0] == 200
    await write.numbered(bob, [7])
    await write.numbered(alice, [8])
    for other, _ in others:
        await other.wait_for(lambda client: {'{"n":7}', '{"n":8}'} & set(client.data))
        assert other.own("close") == []
    await one.wait_for_metric("gateway_closes_total", 1, reason="revoked")

    async def is_recorded() -> bool:  # of an event, by a worker, and not at once
        keys = {record.key for record in await records_of(broker, served.revocations, 3)}
        return keys == {b"session:s1"}

    await eventually("the revocation is recorded", is_recorded)


async def test_an_event_of_a_user_without_a_stream_is_found_too(
    broker: Broker,
    topics: MakeTopics,
    start_worker: StartWorker,
    opened: Opener,
    producer: AIOKafkaProducer,
    http: aiohttp.ClientSession,
) -> None:
    served = await topics(1, revocations=1)
    worker, elsewhere = await asyncio.gather(start_worker(served), start_worker(served))
    away, token = new_user(), ""
    await opened(worker, new_user())
    token = mint(away, sid="s1")
    write = RecordWriter(producer, served)
    await write.event(away, REVOKED, b'{"session_id": "s1"}')
    await becomes(401, worker, token, http)
    await becomes(401, elsewhere, token, http)
    assert (await answer(elsewhere, mint(away, sid="s2"), http))[0] == 200


async def test_replayed_event_revokes_although_it_was_never_delivered(
    set_up: SetUp, http: aiohttp.ClientSession
) -> None:
    stage = await set_up(1, revocations=1, tail_warm_seconds=0)
    user = new_user()
    token = mint(user, sid="s1")
    since = datetime.now(UTC) - timedelta(minutes=1)
    await stage.write.event(user, REVOKED, b'{"session_id": "s1"}')
    client = await stage.open(user, [("since", since.isoformat())], token=token)
    await client.wait_for_end()
    assert [event.type for event in client.events] == [REVOKED, "stream.close"]
    assert (await answer(stage.worker, token, http))[0] == 401


async def test_a_user_is_out_with_the_tokens_of_before_until_it_is_lifted(
    set_up: SetUp, broker: Broker, opened: Opener, http: aiohttp.ClientSession
) -> None:
    stage = await set_up(1, revocations=1)
    user = new_user()
    settings = settings_of(broker, stage.topics)
    streams = [await opened(stage.worker, user, "s1"), await opened(stage.worker, user)]
    bystander = await opened(stage.worker, new_user(), "s1")
    finished = await gateway("revoke", user, settings=settings)
    assert finished.code == 0, finished.err
    for client, _ in streams:
        await client.wait_for_end()
        assert client.own("close") == ['{"reason":"revoked"}']
    assert bystander.client.is_open
    before = [streams[0].token, mint(user, iat=None)]
    after = mint(user, iat=time.time() + 1)
    for token in before:
        assert (await answer(stage.worker, token, http))[0] == 401
    assert (await answer(stage.worker, after, http))[0] == 200
    finished = await gateway("revoke", user, "--lift", settings=settings)
    assert finished.code == 0, finished.err
    for token in before:
        await becomes(200, stage.worker, token, http)
    late = await stage.start()
    for token in before:
        assert (await answer(late, token, http))[0] == 200


async def test_a_session_is_lifted_by_a_tombstone_and_by_the_end_of_its_time(
    set_up: SetUp, broker: Broker, http: aiohttp.ClientSession
) -> None:
    stage = await set_up(1, revocations=2)
    user = new_user()
    tokens = [mint(user, sid=session) for session in ("lifted", "over")]
    async with publishing(broker.bootstrap, stage.topics) as publisher:
        await publisher.revoke_session(user, "lifted")
        await becomes(401, stage.worker, tokens[0], http)
        await publisher.lift_session("lifted")
        await becomes(200, stage.worker, tokens[0], http)

        for seconds in (3, 6, 12, 24, 48):  # as long as it takes to be observed
            end = datetime.now(UTC) + timedelta(seconds=seconds)
            await publisher.revoke_session(user, "over", expires_at=end)
            code = 0
            while code != 401 and datetime.now(UTC) < end:
                code, _ = await answer(stage.worker, tokens[1], http)
            if code == 401:
                break
        assert code == 401
        await becomes(200, stage.worker, tokens[1], http)
    assert datetime.now(UTC) >= end


async def test_what_was_read_counts_while_kafka_is_away(
    tmp_path: Path, http: aiohttp.ClientSession, open_stream: OpenStream
) -> None:
    served = Topics("user-events", "broadcast-events", "gateway-revocations")
    user = new_user()
    token = mint(user, sid="s1")
    async with EmbeddedBroker() as broker:
        await create_topics(
            broker.bootstrap,
            [
                *(NewTopic(served.user, 2, 1), NewTopic(served.broadcast, 1, 1)),
                compacted(served.revocations),
            ],
        )
        async with publishing(broker.bootstrap, served) as publisher:
            await publisher.revoke_session(user, "s1")
        settings = worker_settings(served, kafka_bootstrap=broker.bootstrap)
        worker = Worker(settings, tmp_path / "log")
        try:
            await worker.wait_until_ready()
            assert (await answer(worker, token, http))[0] == 401
            os.kill(broker.pid, signal.SIGKILL)

            async def not_ready() -> bool:
                return await status(http, f"{worker.ops_url}/readyz") == 503

            await eventually("the outage is reported", not_ready)
            assert (await answer(worker, token, http))[0] == 401
            await open_stream(worker, user, token=mint(user, sid="s2"))
        finally:
            worker.end()
    assert "Traceback" not in worker.log()
