from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway import __version__
from gateway.config import load_settings
from gateway.fleet.members import Fleet
from gateway.metrics import Metrics
from gateway.ops.dashboard import DashboardFeed
from gateway.ops.latest import Latest
from gateway.ops.listener import ops_app
from gateway.ops.pseudonyms import Pseudonyms
from gateway.ops.stream_log import StreamLog
from gateway.readiness import NotReadyReason, Readiness
from gateway.throttled_log import ThrottledLog
from tests.http.raw_client import connected
from tests.ops.test_dashboard import View
from tests.tokens import SECRET

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web
    from aiohttp.test_utils import TestClient
    from pytest_aiohttp.plugin import AiohttpClient

    Client = TestClient[web.Request, web.Application]
    Connect = Callable[..., Awaitable[Client]]

TOKEN = "a token of operators, with ü"


@pytest.fixture
def readiness() -> Readiness:
    return Readiness()


@pytest.fixture
def drains() -> list[str]:
    return []


@pytest.fixture
def connect(aiohttp_client: AiohttpClient, readiness: Readiness, drains: list[str]) -> Connect:
    async def serve(token: str | None = None) -> Client:
        settings = load_settings(None, jwt_secret=SECRET, ops_token=token)
        metrics = Metrics(ThrottledLog(lambda: 0.0), StreamLog(Pseudonyms(None)), "murmur2")
        view = View(Fleet("web-1"))
        routes = DashboardFeed("web-1", view, Latest(lambda _: ""), str, "").routes()
        app = ops_app(settings, readiness, metrics, lambda: drains.append("asked"), routes)
        return await aiohttp_client(app)

    return serve


async def test_health_is_that_of_the_process(connect: Connect) -> None:
    async with (await connect()).get("/healthz") as response:
        assert response.status == 200
        assert await response.json() == {"status": "ok"}


async def test_readiness_comes_with_its_reasons(connect: Connect, readiness: Readiness) -> None:
    client = await connect()
    async with client.get("/readyz") as response:
        assert response.status == 503
        assert (await response.json())["reasons"][0]["reason"] == "starting"
    readiness.clear(NotReadyReason.STARTING)
    async with client.get("/readyz") as response:
        assert response.status == 200
        assert await response.json() == {"ready": True, "reasons": []}
    readiness.set_reason(NotReadyReason.DRAINING, "it is being stopped")
    async with client.get("/readyz") as response:
        assert response.status == 503


async def test_metrics_are_served_as_prometheus_reads_them(connect: Connect) -> None:
    async with (await connect()).get("/metrics") as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        text = await response.text()
    assert {family.name for family in text_string_to_metric_families(text)} > {"gateway_gaps"}


async def test_openmetrics_is_served_on_request(connect: Connect) -> None:
    headers = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
    async with (await connect()).get("/metrics", headers=headers) as response:
        assert response.headers["Content-Type"].startswith("application/openmetrics-text")
        text = await response.text()
    assert text.endswith("# EOF\n")
    assert "_created" not in text


async def test_version_is_that_of_the_package(connect: Connect) -> None:
    async with (await connect()).get("/version") as response:
        assert (await response.json())["version"] == __version__


async def test_a_drain_can_be_asked_for(connect: Connect, drains: list[str]) -> None:
    client = await connect()
    async with client.post("/ops/drain") as response:
        assert response.status == 202
    assert drains == ["asked"]
    async with client.get("/ops/drain") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "POST"
    assert drains == ["asked"]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/metrics"), ("GET", "/ops/fleet"), ("POST", "/ops/drain")]
)
@pytest.mark.parametrize(
    ("header", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
        (None, 401),
        ("", 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        (TOKEN, 401),
        (f"Basic {TOKEN}", 401),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (f"Bearer  {TOKEN}", 401),
        ("Bearer \udcff\udcfe", 401),
        ("Bearer 日本", 401),
        ("Bearer " + "x" * 8000, 401),
    ],
)
async def test_the_token_is_asked_for(
    connect: Connect, drains: list[str], method: str, path: str, header: str | None, status: int
) -> None:
    server = (await connect(TOKEN)).server
    assert server.port is not None
    line = b""
    if header is not None:
        line = b"Authorization: " + header.encode(errors="surrogateescape") + b"\r\n"
    async with connected(server.port) as client:
        await client.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\n".encode() + line + b"\r\n")
        head = (await client.head()).decode()
    if status == 401:
        assert head.startswith("HTTP/1.1 401 ")
        assert 'WWW-Authenticate: Bearer realm="operations"\r\n' in head
        assert "Content-Type: application/problem+json\r\n" in head
        assert drains == []
    else:
        assert head.startswith("HTTP/1.1 20")


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Host": "localhost:8081"}, True),
        ({"Host": "127.0.0.1:8081"}, True),
        ({"Host": "[::1]:8081"}, True),
        (
            {"Host": "127.0.0.1", "Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin"},
            True,
        ),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "http://127.0.0.1:3000"}, False),
        ({"Origin": "null"}, False),
        ({"Host": "evil.example"}, False),
        ({"Host": "evil.example:8081", "Sec-Fetch-Site": "same-origin"}, False),
        ({"Host": "localhost.evil.example"}, False),
        ({"Host": "127.0.0.1.evil.example"}, False),
        ({"Host": "[nonsense"}, False),
        ({"Host": ""}, False),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/metrics"), ("GET", "/ops/fleet"), ("POST", "/ops/drain")]
)
async def test_without_a_token_no_page_of_another_site_is_answered(
    connect: Connect,
    drains: list[str],
    method: str,
    path: str,
    headers: dict[str, str],
    allowed: bool,
) -> None:
    async with (await connect()).request(method, path, headers=headers) as response:
        assert (response.status in (200, 202)) is allowed
        assert response.status == 403 or allowed
    assert bool(drains) is (allowed and method == "POST")


async def test_non_browser_client_needs_no_host_header(connect: Connect) -> None:
    server = (await connect()).server
    assert server.port is not None
    async with connected(server.port) as client:
        await client.send(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert (await client.head()).startswith(b"HTTP/1.0 200 ")


async def test_token_is_sufficient_under_any_host_name(connect: Connect) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Host": "gateway-ops.example"}
    async with (await connect(TOKEN)).get("/metrics", headers=headers) as response:
        assert response.status == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_probes_need_no_token(connect: Connect, path: str) -> None:
    async with (await connect(TOKEN)).get(path) as response:
        assert response.status in (200, 503)


@pytest.mark.parametrize("token", [None, TOKEN])
async def test_root_redirects_to_the_dashboard(connect: Connect, token: str | None) -> None:
    async with (await connect(token)).get("/") as response:
        assert (response.status, response.url.path) == (200, "/ops")


async def test_response_does_not_name_the_server(connect: Connect) -> None:
    client = await connect(TOKEN)
    for path in ("/healthz", "/ops", "/metrics", "/none"):
        async with client.get(path) as response:
            assert "Server" not in response.headers


@pytest.mark.parametrize("path", ["/api/v1/events", "/metrics/", "/ops/"])
async def test_unknown_path_is_answered_with_problem_details(connect: Connect, path: str) -> None:
    async with (await connect()).get(path) as response:
        assert response.status == 404
        assert response.headers["Content-Type"] == "application/problem+json"
