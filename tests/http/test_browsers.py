"""Pages of several origins in Chromium: the headers, cookies and bodies of a real browser."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from gateway import clock
from gateway.core.gap import CloseReason
from tests.demo.webdriver import Browser
from tests.http.served import Served, serving
from tests.records import TYPE
from tests.tokens import mint

OPEN = """
    window.seen = [];
    window.source = new EventSource(%s, { withCredentials: true });
    source.onopen = () => seen.push("open");
    source.onerror = () => seen.push(source.readyState === EventSource.CLOSED ? "closed" : "lost");
    source.addEventListener(%s, (event) => seen.push(event.data));
"""
SEEN = "return seen.length ? seen : null"

SHARDED: dict[str, Any] = {"sharding": "redirect", "retry_ms": 50}

FETCH = """
    window.seen = [];
    fetch(%s, { headers: %s, credentials: "include" }).then(
        async (answer) => {
            const told = answer.headers.get("WWW-Authenticate");
            const text = answer.ok ? "" : (await answer.json()).detail;
            seen.push([answer.status, told, text]);
        },
        () => seen.push(["blocked"]),
    );
"""


@asynccontextmanager
async def site() -> AsyncIterator[int]:
    """Serve an empty page; its port makes it a separate origin on the same site."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<title>page</title>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def gateway(*origins: str, **settings: Any) -> AsyncIterator[Served]:
    async with serving(cors_origins=origins, token_cookie="token", **settings) as served:
        yield served


def events_of(served: Served) -> str:
    return f"http://127.0.0.1:{served.port}/api/v1/events"


def opening(served: Served) -> str:
    return OPEN % (json.dumps(events_of(served)), json.dumps(TYPE))


async def log_in(browser: Browser, served: Served, **attributes: object) -> None:
    """Give the browser a cookie for the gateway."""
    await browser.emulate(
        "Network.setCookie",
        url=events_of(served),
        name="token",
        value=mint("alice"),
        httpOnly=True,
        **attributes,
    )


async def test_a_page_of_an_allowed_origin_reads_a_stream_with_its_cookie(
    browser: Browser,
) -> None:
    async with site() as port, gateway(f"http://127.0.0.1:{port}") as served:
        await log_in(browser, served)
        await browser.open(f"http://127.0.0.1:{port}/")
        await browser.run(opening(served))
        assert await browser.wait_for(SEEN) == ["open"]
        served.publish(b'{"rows": 9}')
        await browser.wait_for("return seen.length > 1")
        assert await browser.run(SEEN) == ["open", '{"rows": 9}']


async def test_a_page_follows_to_its_shard_and_comes_back_with_its_id(browser: Browser) -> None:
    async with site() as port, gateway(f"http://127.0.0.1:{port}", **SHARDED) as served:
        await log_in(browser, served)
        await browser.open(f"http://127.0.0.1:{port}/")
        await browser.run(opening(served))
        assert await browser.wait_for(SEEN) == ["open"]
        served.publish(b'{"rows": 9}')
        await browser.wait_for("return seen.length > 1")
        served.hub.close(served.stream, CloseReason.MAX_AGE, clock.now())
        await browser.wait_for("return seen.filter((what) => what === 'open').length > 1")
    first, second = served.hub.openings
    assert not first.cursor
    assert second.cursor, "the browser has kept its id through the redirect"
    # Chromium comes back to the URL that it was sent to.
    assert b"gateway_redirects_total 1.0" in served.metrics.text()


async def test_a_page_that_fetches_follows_to_its_shard_with_its_token(browser: Browser) -> None:
    async with site() as port, gateway(f"http://127.0.0.1:{port}", **SHARDED) as served:
        await browser.open(f"http://127.0.0.1:{port}/")
        headers = json.dumps({"Authorization": f"Bearer {mint('alice')}"})
        await browser.run(FETCH % (json.dumps(events_of(served)), headers))
        assert await browser.wait_for(SEEN) == [[200, None, ""]]
    assert b"gateway_redirects_total 1.0" in served.metrics.text()


async def test_a_page_of_the_own_origin_needs_no_allow_list(browser: Browser) -> None:
    async with gateway() as served:
        await log_in(browser, served)
        await browser.open(f"http://127.0.0.1:{served.port}/")
        await browser.run(opening(served))
        assert await browser.wait_for(SEEN) == ["open"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_page_of_another_origin_opens_nothing_although_the_browser_sends_the_cookie(
    browser: Browser, host: str
) -> None:
    """Of the same site as the gateway (another port), and of another site."""
    anywhere = {"sameSite": "None", "secure": True} if host == "localhost" else {}
    async with site() as port:
        page = f"http://{host}:{port}"
        async with gateway(page) as served:
            await log_in(browser, served, **anywhere)
            await browser.open(f"{page}/")
            await browser.run(opening(served))
            assert await browser.wait_for(SEEN) == ["open"], "the cookie is not sent at all"
            await browser.run("source.close()")
        async with gateway("http://127.0.0.1:1") as served:
            await log_in(browser, served, **anywhere)
            await browser.open(f"{page}/")
            await browser.run(opening(served))
            assert await browser.wait_for(SEEN) == ["closed"]
            for attempt in (
                'const it = new Image(); it.src = "%s"; it.onerror = () => seen.push("image")',
                'const it = document.createElement("script"); it.src = "%s";'
                ' it.onerror = () => seen.push("script"); document.head.append(it)',
                'fetch("%s", {mode: "no-cors", credentials: "include"})'
                '.then(() => seen.push("answer"))',
            ):
                before = len(await browser.run(SEEN))
                await browser.run(attempt % events_of(served))
                await browser.wait_for(f"return seen.length > {before}")
            assert not served.hub.openings


async def test_a_page_sends_its_token_and_its_id_itself_and_can_read_a_refusal(
    browser: Browser,
) -> None:
    async with site() as port, gateway(f"http://127.0.0.1:{port}") as served:
        await browser.open(f"http://127.0.0.1:{port}/")
        headers = {"Authorization": f"Bearer {mint('alice')}", "Last-Event-ID": "nonsense"}
        await browser.run(FETCH % (json.dumps(events_of(served)), json.dumps(headers)))
        assert await browser.wait_for(SEEN) == [[200, None, ""]]
        (opening,) = served.hub.openings
        assert opening.malformed

        headers["Authorization"] = "Bearer nonsense"
        await browser.run(FETCH % (json.dumps(events_of(served)), json.dumps(headers)))
        told = 'Bearer realm="gateway", error="invalid_token"'
        assert await browser.wait_for(SEEN) == [[401, told, "the token is not accepted"]]


async def test_page_of_another_origin_cannot_read_a_response_with_any_token(
    browser: Browser,
) -> None:
    async with site() as port, gateway("http://127.0.0.1:1") as served:
        await browser.open(f"http://127.0.0.1:{port}/")
        headers = {"Authorization": f"Bearer {mint('alice')}"}
        await browser.run(FETCH % (json.dumps(events_of(served)), json.dumps(headers)))
        assert await browser.wait_for(SEEN) == [["blocked"]]
        assert not served.hub.openings
