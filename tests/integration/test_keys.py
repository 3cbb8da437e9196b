"""Tokens whose keys are published at a URL: rotation, a URL that is down, made-up names."""

from __future__ import annotations

import asyncio

import aiohttp
from aiokafka import AIOKafkaProducer

from gateway.http.auth.jwks_client import MAX_WAITING
from tests.child import free_port
from tests.conftest import MakeTopics, StartWorker
from tests.eventually import eventually
from tests.integration.conftest import OpenStream, open_expiring
from tests.integration.problems import expect_problem
from tests.issuer import SigningKey, key_set, published
from tests.records import RecordWriter
from tests.tokens import bearer

OLD = SigningKey("RS256", "old")
NEW = SigningKey("ES256", "new")
NEWEST = SigningKey("EdDSA", "newest")


async def test_stream_outlives_its_signing_key_and_resumes_with_a_token_of_the_next_key(
    topics: MakeTopics,
    start_worker: StartWorker,
    open_stream: OpenStream,
    producer: AIOKafkaProducer,
    user: str,
) -> None:
    served = await topics()
    write = RecordWriter(producer, served)
    async with published(OLD) as provider:
        worker = await start_worker(served, jwt_jwks_url=provider.url)
        client, token = await open_expiring(open_stream, worker, user, OLD.mint)
        provider.document = key_set(OLD, NEW)
        other = await open_stream(worker, user, token=NEW.mint(user))
        await write.numbered(user, [0, 1])
        await client.wait_for_end()
        assert client.own("close") == ['{"reason":"token_expired"}']
        await write.numbered(user, [2])

        async def expired() -> bool:
            await client.reconnect(token=token)
            return client.status == 401

        await eventually("the token is not accepted any more", expired)
        await client.reconnect(token=NEW.mint(user))
        await client.wait_for(lambda client: len(client.data) == 3)
        await write.numbered(user, [3])
        await client.wait_for(lambda client: len(client.data) == 4)
        await other.wait_for(lambda other: len(other.data) == 4)
    assert client.numbers == [0, 1, 2, 3]
    assert client.own("gap") == []
    assert other.numbers == [0, 1, 2, 3]


async def test_a_worker_that_starts_while_the_url_is_down_serves_when_it_is_up(
    topics: MakeTopics, start_worker: StartWorker, user: str, http: aiohttp.ClientSession
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/keys"
    worker = await start_worker(await topics(), ready=False, jwt_jwks_url=url)

    async def only_keys_are_missing() -> bool:
        try:
            async with http.get(f"{worker.ops_url}/readyz") as response:
                reasons = (await response.json())["reasons"]
        except aiohttp.ClientConnectionError:
            return False
        return [reason["reason"] for reason in reasons] == ["keys"] and "JWKS_URL" in str(reasons)

    await eventually("only keys are missing", only_keys_are_missing)
    async with http.get(worker.events_url, headers=bearer(NEWEST.mint(user))) as response:
        await expect_problem(response, 503)
        assert response.headers["Retry-After"]

    async with published(NEWEST, port=port):
        await worker.wait_until_ready()
        async with http.get(worker.events_url, headers=bearer(NEWEST.mint(user))) as response:
            assert response.status == 200
    warnings = [line for line in worker.log().splitlines() if '"reason": "keys"' in line]
    assert len(warnings) == 1
    assert "GATEWAY_JWT_JWKS_URL" in warnings[0]


async def test_while_the_url_is_down_the_last_keys_stay_valid(
    topics: MakeTopics, start_worker: StartWorker, user: str, http: aiohttp.ClientSession
) -> None:
    async with published(OLD, NEW) as provider:
        worker = await start_worker(await topics(), jwt_jwks_url=provider.url)
    unknown = http.get(worker.events_url, headers=bearer(NEWEST.mint(user)))
    waiting = asyncio.ensure_future(unknown)
    for key in (OLD, NEW) * 5:
        async with http.get(worker.events_url, headers=bearer(key.mint(user))) as response:
            assert response.status == 200
    async with await waiting as response:
        await expect_problem(response, 401)
    async with http.get(f"{worker.ops_url}/readyz") as response:
        assert response.status == 200


async def test_names_that_are_made_up_do_not_reach_the_provider(
    topics: MakeTopics, start_worker: StartWorker, user: str, http: aiohttp.ClientSession
) -> None:
    async with published(OLD) as provider:
        worker = await start_worker(await topics(), jwt_jwks_url=provider.url)

        async def attack(number: int) -> int:
            token = NEW.mint(user, header={"kid": f"made-up-{number}"})
            async with http.get(worker.events_url, headers=bearer(token)) as response:
                return response.status

        for _ in range(3):
            assert set(await asyncio.gather(*map(attack, range(100)))) == {401}
        assert provider.asked == 2
        async with http.get(worker.events_url, headers=bearer(OLD.mint(user))) as response:
            assert response.status == 200


async def test_hanging_provider_does_not_affect_tokens_with_known_keys(
    topics: MakeTopics, start_worker: StartWorker, user: str
) -> None:
    """More tokens with made-up keys than openings may wait are held; good tokens do not notice."""
    async with (
        published(OLD) as provider,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http,
    ):
        worker = await start_worker(await topics(), jwt_jwks_url=provider.url)
        provider.answering.clear()
        good = bearer(OLD.mint(user))

        async def attack(number: int) -> int:
            token = NEW.mint(user, header={"kid": f"made-up-{number}"})
            async with http.get(worker.events_url, headers=bearer(token)) as response:
                return response.status

        attacks = asyncio.gather(*map(attack, range(1200)))

        async def turned_away() -> bool:
            return await worker.metric("gateway_rejects_total", reason="key_lookups") > 0

        await eventually("requests with unknown keys are rejected", turned_away)
        for _ in range(10):
            async with http.get(worker.events_url, headers=good) as response:
                assert response.status == 200
        statuses = await attacks
    assert set(statuses) == {401, 503}
    assert statuses.count(401) >= MAX_WAITING
    assert await worker.metric("gateway_rejects_total", reason="worker_openings") == 0
