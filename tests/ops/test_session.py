from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from gateway import clock
from gateway.config import load_settings
from gateway.core.records import Moment
from gateway.metrics import Metrics
from gateway.ops.listener import ops_app
from gateway.ops.page import ASSETS
from gateway.ops.pseudonyms import Pseudonyms
from gateway.ops.session import SESSION_SECONDS
from gateway.ops.stream_log import StreamLog
from gateway.readiness import Readiness
from gateway.throttled_log import ThrottledLog
from tests.tokens import SECRET

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from aiohttp.test_utils import TestClient
    from pytest_aiohttp.plugin import AiohttpClient

    Client = TestClient[web.Request, web.Application]
    Connect = Callable[..., Awaitable[Client]]

TOKEN = "a token of operators, with ü"


@pytest.fixture
def connect(aiohttp_client: AiohttpClient) -> Connect:
    """Connects to a listener that has a page of facts, `/ops/fleet`."""

    async def fleet(_: web.Request) -> web.Response:
        return web.json_response({})

    async def serve(token: str | None = None, file: Path | None = None) -> Client:
        settings = load_settings(None, jwt_secret=SECRET, ops_token=token, ops_token_file=file)
        metrics = Metrics(ThrottledLog(lambda: 0.0), StreamLog(Pseudonyms(None)), "murmur2")
        routes = [web.get("/ops/fleet", fleet)]
        return await aiohttp_client(ops_app(settings, Readiness(), metrics, print, routes))

    return serve


async def sign_in(client: Client, token: str = TOKEN, **headers: str) -> int:
    async with client.post("/ops/session", json={"token": token}, headers=headers) as response:
        return response.status


async def status(client: Client, path: str = "/metrics", **headers: str) -> int:
    async with client.get(path, headers=headers) as response:
        return response.status


def cookie_of(client: Client) -> str:
    return next(cookie.value for cookie in client.session.cookie_jar)


async def test_page_needs_no_token_and_contains_no_data(connect: Connect) -> None:
    client = await connect(TOKEN)
    for path in ("/ops", *(f"/ops/assets/{name}" for name in ASSETS)):
        async with client.get(path) as response:
            assert response.status == 200
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            text = await response.text()
            assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
            assert "https://" not in text
            assert "HTML" not in text, "what others have written is never markup"
    assert await status(client, "/ops/assets/%2e%2e/session.py") == 401


async def test_without_a_token_other_hosts_are_refused_and_sign_in_is_disabled(
    connect: Connect,
) -> None:
    client = await connect()
    assert await status(client, "/ops") == 200
    assert await status(client, "/ops", Host="evil.example") == 403
    assert await sign_in(client) == 404


async def test_client_with_the_token_signs_in_and_out(connect: Connect) -> None:
    client = await connect(TOKEN)
    assert await status(client) == 401
    async with client.post("/ops/session", json={"token": TOKEN}) as response:
        assert response.status == 204
        cookie = response.headers["Set-Cookie"]
    assert {
        "HttpOnly",
        "SameSite=Strict",
    } <= set(cookie.split("; "))
    assert "token" not in cookie
    assert await status(client, "/ops/fleet") == 200
    async with client.delete("/ops/session") as response:
        assert response.status == 204
    assert await status(client, "/ops/fleet") == 401


async def test_a_cookie_counts_for_the_dashboards_own_page_only(connect: Connect) -> None:
    client = await connect(TOKEN)
    assert await sign_in(client) == 204
    own = f"{client.server.host}:{client.server.port}"
    assert await status(client, "/ops/fleet", **{"Sec-Fetch-Site": "same-origin"}) == 200
    assert await status(client, "/ops/fleet", **{"Sec-Fetch-Site": "same-site"}) == 401
    assert await status(client, "/ops/fleet", Origin=f"http://{own}") == 200
    assert await status(client, "/ops/fleet", Origin="http://127.0.0.1:1") == 401
    assert await sign_in(client, **{"Sec-Fetch-Site": "cross-site"}) == 403


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", "\ud800"])
async def test_who_does_not_know_the_token_does_not(connect: Connect, token: str) -> None:
    client = await connect(TOKEN)
    assert await sign_in(client, token) in {400, 401}
    assert await status(client, "/ops/fleet") == 401


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", b'{"token": 1}', b'"' + b"x" * 5000 + b'"'])
async def test_invalid_sign_in_is_refused(connect: Connect, body: bytes) -> None:
    client = await connect(TOKEN)
    async with client.post("/ops/session", data=body) as response:
        assert response.status == 400


async def test_a_cookie_ends_with_the_shift_and_with_the_token(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await connect(TOKEN)
    await sign_in(client)
    cookie = cookie_of(client)
    end, _, proof = cookie.partition(".")
    client.session.cookie_jar.clear()
    header = "gateway_ops="
    assert await status(client, "/ops/fleet", Cookie=header + cookie) == 200
    for other in (f"{int(end) + 1}.{proof}", f"{end}.{proof[:-1]}", end, f"{end}.", "x", ".", ""):
        assert await status(client, "/ops/fleet", Cookie=header + other) == 401, other
    assert await status(await connect(TOKEN + "!"), "/ops/fleet", Cookie=header + cookie) == 401

    now = clock.now()
    later = Moment(now.monotonic, now.wall + SESSION_SECONDS * 1000 + 1000)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert await status(client, "/ops/fleet", Cookie=header + cookie) == 401


async def test_changed_token_file_applies_to_the_next_request_and_ends_sessions(
    connect: Connect, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    client = await connect(file=file)
    assert await sign_in(client, "first") == 204
    assert await status(client, "/ops/fleet") == 200
    file.write_text("second\n")
    assert await status(client, "/ops/fleet") == 401, "the cookie belongs to the former token"
    assert await status(client, "/ops/fleet", Authorization="Bearer first") == 401
    assert await status(client, "/ops/fleet", Authorization="Bearer second") == 200
    file.write_text(" \n")
    assert await status(client, "/ops/fleet", Authorization="Bearer second") == 200, (
        "an empty token is not taken"
    )
