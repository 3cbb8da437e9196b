"""The topic of revocations: missing, recreated, with more partitions or invalid records."""

from __future__ import annotations

import aiohttp
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewPartitions

from tests.brokers.metadata import admin_client, create_topics
from tests.conftest import Broker, MakeTopics, StartWorker, compacted
from tests.eventually import eventually
from tests.integration.conftest import SetUp, new_user
from tests.integration.sessions import answer, becomes, publishing
from tests.integration.test_operations import readiness, wait_until_up
from tests.records import RecordWriter
from tests.tokens import mint


async def test_bad_records_in_the_topic_are_skipped_and_counted(
    topics: MakeTopics,
    start_worker: StartWorker,
    producer: AIOKafkaProducer,
    http: aiohttp.ClientSession,
) -> None:
    served = await topics(1, revocations=1)
    write = RecordWriter(producer, served)
    user = new_user()
    await write.record(b"session:bad", b"nonsense", topic=served.revocations)
    await write.record(
        b"session:old", b'{"user_id": "%s"}' % user.encode(), topic=served.revocations
    )
    worker = await start_worker(served)
    assert (await answer(worker, mint(user, sid="old"), http))[0] == 401
    last = await write.record(b"nobody", b"{}", topic=served.revocations)
    await write.record(
        b"session:new", b'{"user_id": "%s"}' % user.encode(), topic=served.revocations
    )
    await becomes(401, worker, mint(user, sid="new"), http)
    for reason in ("not_json", "wrong_shape"):
        await worker.wait_for_metric("gateway_unreadable_records_total", 1, reason=reason)
    await worker.wait_for_log(served.revocations, f'"offset": {last.offset}')


async def test_worker_without_the_topic_is_not_ready_and_logs_how_to_create_it(
    broker: Broker, topics: MakeTopics, start_worker: StartWorker, http: aiohttp.ClientSession
) -> None:
    served = (await topics(1))._replace(revocations=f"revocations-{new_user()}")
    worker = await start_worker(served, ready=False)
    await wait_until_up(worker, http)

    async def named() -> bool:
        return served.revocations in (await readiness(worker, http))[1]

    await eventually("the missing topic is named", named)
    assert (await readiness(worker, http))[0] == 503
    assert (await answer(worker, mint("alice"), http))[0] == 503

    async def told() -> bool:
        text = (await readiness(worker, http))[1]
        return (
            f"--create --topic {served.revocations} --partitions 1 --config cleanup.policy" in text
        )

    await eventually("the command is reported", told)
    await create_topics(broker.bootstrap, [compacted(served.revocations)])
    await worker.wait_until_ready()


@pytest.mark.parametrize("broker", ["kafka"], indirect=True, scope="session")
async def test_recreated_topic_is_read_from_its_start(
    broker: Broker,
    topics: MakeTopics,
    start_worker: StartWorker,
    http: aiohttp.ClientSession,
) -> None:
    served = await topics(1, revocations=1)
    worker = await start_worker(served)
    user = new_user()
    tokens = {name: mint(user, sid=name) for name in ("old", "lifted", "new")}
    async with publishing(broker.bootstrap, served) as publisher:
        for name in ("old", "lifted"):
            await publisher.revoke_session(user, name)
            await becomes(401, worker, tokens[name], http)
    async with admin_client(broker.bootstrap) as admin:
        await admin.delete_topics([served.revocations])

    async def missed() -> bool:
        return served.revocations in (await readiness(worker, http))[1]

    await eventually("the topic is missed", missed)
    assert (await answer(worker, tokens["old"], http))[0] == 401
    await create_topics(broker.bootstrap, [compacted(served.revocations, 2)])
    async with publishing(broker.bootstrap, served) as publisher:
        await publisher.lift_session("lifted")
        await publisher.revoke_session(user, "new")
    await becomes(401, worker, tokens["new"], http)
    await becomes(200, worker, tokens["lifted"], http)
    assert (await answer(worker, tokens["old"], http))[0] == 401
    await worker.wait_until_ready()


@pytest.mark.parametrize("broker", ["kafka"], indirect=True, scope="session")
async def test_a_partition_that_is_added_is_read_too(
    set_up: SetUp, broker: Broker, http: aiohttp.ClientSession
) -> None:
    stage = await set_up(1, revocations=1)
    user = new_user()
    async with admin_client(broker.bootstrap) as admin:
        await admin.create_partitions({stage.topics.revocations: NewPartitions(3)})
    sessions = [f"s{number}" for number in range(8)]
    async with publishing(broker.bootstrap, stage.topics) as publisher:
        for session in sessions:
            await publisher.revoke_session(user, session)
    for session in sessions:
        await becomes(401, stage.worker, mint(user, sid=session), http)
