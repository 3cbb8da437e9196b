"""Logins at Kafka with OAuth tokens: Apache Kafka validates them against an identity server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from tests.brokers.authority import Authority
from tests.brokers.metadata import create_topics
from tests.brokers.oauth import OAuthNode
from tests.child import free_port
from tests.commands.command import gateway
from tests.conftest import use_worker, worker_settings
from tests.identity.oauth import OAuthServer
from tests.integration.conftest import OpenStream
from tests.programs import require
from tests.records import RecordWriter, Topics
from tests.tokens import SECRET
from tests.worker import Worker

TOKEN_SECONDS = 6
LOGIN_MS = 3000
TOPICS = Topics("user-events", "broadcast-events")


class Site(NamedTuple):
    """The broker, the server that issues tokens for it, and the CA of the broker's certificate."""

    node: OAuthNode
    server: OAuthServer
    authority: Authority

    def settings(self, **others: object) -> dict[str, object]:
        """Return the settings of a worker that gets its tokens as a client of the server."""
        return {
            "kafka_bootstrap": self.node.oauth_bootstrap,
            "kafka_security_protocol": "SASL_SSL",
            "kafka_ssl_cafile": self.authority.certificate,
            "kafka_sasl_mechanism": "OAUTHBEARER",
            "kafka_sasl_oauthbearer_token_endpoint_url": self.server.token_url,
            "kafka_sasl_oauthbearer_client_id": "gateway",
            "kafka_sasl_oauthbearer_client_secret": "secret",
            "kafka_sasl_oauthbearer_scope": "kafka",
            **others,
        }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    require("java", "mvn")
    folder = tmp_path_factory.mktemp("oauth")
    authority = Authority(folder)
    async with (
        OAuthServer(folder, TOKEN_SECONDS) as server,
        OAuthNode(folder / "node", server, authority, LOGIN_MS) as node,
    ):
        await create_topics(node.bootstrap, [NewTopic(name, 1, 1) for name in TOPICS[:2]])
        yield Site(node, server, authority)


async def test_events_are_delivered_once_while_tokens_and_logins_expire(
    site: Site,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    open_stream: OpenStream,
    user: str,
) -> None:
    worker = Worker(worker_settings(TOPICS, **site.settings()), tmp_path / "log")
    use_worker(request, worker)
    try:
        await worker.wait_until_ready()
        client = await open_stream(worker, user)
        async with AIOKafkaProducer(bootstrap_servers=site.node.bootstrap) as producer:
            write = RecordWriter(producer, TOPICS)
            # Two tokens and five logins expire meanwhile.
            numbers = list(range(1, 2 * TOKEN_SECONDS * 5 + 1))
            for number in numbers:
                await write.numbered(user, [number])
                await asyncio.sleep(0.2)
        await client.wait_for(len(numbers))
        assert client.numbers == numbers
    finally:
        worker.end()


async def test_check_names_the_setting_of_an_endpoint_that_does_not_answer(site: Site) -> None:
    away = f"http://127.0.0.1:{free_port()}/token"
    settings = site.settings(kafka_sasl_oauthbearer_token_endpoint_url=away)
    finished = await gateway("check", settings=_text(settings))
    assert finished.code == 1
    assert f"the token endpoint {away} does not answer" in finished.out
    assert "GATEWAY_KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL" in finished.out


async def test_check_reports_a_token_that_the_brokers_refuse(site: Site, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("not-a-token\n")
    settings = site.settings(
        kafka_sasl_oauthbearer_token_endpoint_url="", kafka_sasl_oauthbearer_token_file=token
    )
    finished = await gateway("check", settings=_text(settings))
    assert finished.code == 1
    assert "refuses the token of this client (OAUTHBEARER): " in finished.out


async def test_worker_logs_in_with_a_token_from_a_file(
    site: Site, tmp_path: Path, request: pytest.FixtureRequest, http: aiohttp.ClientSession
) -> None:
    token = tmp_path / "token"
    settings = site.settings(
        kafka_sasl_oauthbearer_token_endpoint_url="", kafka_sasl_oauthbearer_token_file=token
    )
    given = {name: value for name, value in settings.items() if value}
    for name in ("client_id", "client_secret", "scope"):
        del given[f"kafka_sasl_oauthbearer_{name}"]

    async def renew() -> None:
        """Write a token as something else would, before the former one expires."""
        form = {"grant_type": "client_credentials", "client_id": "gateway", "client_secret": "s"}
        while True:
            async with http.post(site.server.token_url, data=form) as response:
                token.write_text((await response.json())["access_token"])
            await asyncio.sleep(TOKEN_SECONDS / 3)

    renewing = asyncio.create_task(renew())
    worker = Worker(worker_settings(TOPICS, **given), tmp_path / "log")
    use_worker(request, worker)
    try:
        await worker.wait_until_ready()
    finally:
        renewing.cancel()
        worker.end()


async def test_worker_is_not_ready_until_the_token_endpoint_answers(
    site: Site, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    late = OAuthServer(tmp_path)
    settings = site.settings(kafka_sasl_oauthbearer_token_endpoint_url=late.token_url)
    worker = Worker(worker_settings(TOPICS, **settings), tmp_path / "log")
    use_worker(request, worker)
    try:
        await worker.wait_for_log("TOKEN_ENDPOINT_URL")
        assert "Traceback" not in worker.log()
    finally:
        worker.end()


def _text(settings: dict[str, object]) -> dict[str, str]:
    texts = {name: str(value) for name, value in settings.items() if value}
    return {**texts, "jwt_secret": SECRET, "workers_topic": "", "revocations_topic": ""}
