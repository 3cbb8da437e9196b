from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, make_mocked_request

from gateway.core.registry import Registry
from gateway.demo.numbering import NumberedPublisher
from gateway.demo.options import DemoOptions, demo_settings
from gateway.demo.routes import ASSETS, TOKEN_SECONDS, DemoRoutes
from gateway.errors import BadRequest, NotReady
from gateway.http.auth.keys import OneKey
from gateway.http.auth.tokens import Authenticator
from gateway.revocation.table import Revocations
from tests.demo.test_numbering import Kafka

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.config import Settings

    Client = TestClient[web.Request, web.Application]


@pytest.fixture
def settings() -> Settings:
    return demo_settings(DemoOptions(), "127.0.0.1:9092")


@pytest.fixture
def kafka() -> Kafka:
    return Kafka()


@pytest.fixture
def demo(settings: Settings, kafka: Kafka) -> DemoRoutes:
    registry = Registry.built_in()
    return DemoRoutes(
        settings, registry, NumberedPublisher(kafka, registry), {"alice": (), "bob": ()}
    )


@pytest.fixture
async def client(
    demo: DemoRoutes, aiohttp_client: Callable[[web.Application], Awaitable[Client]]
) -> Client:
    app = web.Application()
    app.add_routes(demo.routes())
    return await aiohttp_client(app)


@pytest.mark.parametrize("path", ["/demo", *(f"/demo/{name}" for name in ASSETS)])
async def test_the_page_and_its_assets_are_served(client: Client, path: str) -> None:
    async with client.get(path) as answer:
        assert answer.status == 200
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/demo/run.py", "/demo/", "/demo/..%2frun.py", "/demo/pageXcss"])
async def test_other_files_of_the_package_are_not_served(client: Client, path: str) -> None:
    async with client.get(path) as answer:
        assert answer.status == 404


async def test_the_page_loads_nothing_from_other_origins(client: Client) -> None:
    for path in ("/demo", *(f"/demo/{name}" for name in ASSETS)):
        async with client.get(path) as answer:
            assert re.search(r"https?:|[\"'(]//", await answer.text()) is None


async def test_the_token_belongs_to_the_user_and_is_short_lived(
    client: Client, settings: Settings
) -> None:
    async with client.get("/demo/token", params={"user": "bob"}) as answer:
        body = await answer.json()
    now = time.time()
    identity = Authenticator(settings, OneKey(settings), Revocations()).verify(body["token"], now)
    assert identity.user == "bob"
    assert now < identity.expires_at <= now + TOKEN_SECONDS
    assert body["expires_in"] == TOKEN_SECONDS


async def test_the_configuration_has_every_event_type(client: Client) -> None:
    async with client.get("/demo/config") as answer:
        config = await answer.json()
    assert config["users"] == ["alice", "bob"]
    assert sum(map(len, config["categories"].values())) == 29
    assert {"announcement", "stream.gap", "stream.close"} < set(config["types"])


async def test_a_sent_event_is_published_and_counted(client: Client, kafka: Kafka) -> None:
    params = {"user": "alice", "type": "import.completed"}
    async with client.post("/demo/send", params=params) as answer:
        assert answer.status == 201
    assert [(user, event_type) for user, event_type, _ in kafka.log] == [
        ("alice", "import.completed")
    ]
    async with client.get("/demo/counts", params={"user": "alice"}) as answer:
        assert (await answer.json())["lanes"] == {"import": 1}


async def test_an_unknown_user_is_rejected(demo: DemoRoutes) -> None:
    with pytest.raises(BadRequest, match="choose one of alice, bob"):
        await demo.token(make_mocked_request("GET", "/demo/token?user=mallory"))


async def test_an_unknown_type_is_rejected(demo: DemoRoutes, kafka: Kafka) -> None:
    with pytest.raises(BadRequest):
        await demo.send(make_mocked_request("POST", "/demo/send?user=alice&type=no.such"))
    assert kafka.log == []


async def test_sending_reports_an_unavailable_kafka(demo: DemoRoutes, kafka: Kafka) -> None:
    kafka.unavailable = True
    with pytest.raises(NotReady, match="Kafka is unavailable"):
        await demo.send(make_mocked_request("POST", "/demo/send?user=alice&type=import.failed"))
