"""The dashboard as the person on call meets it: two workers, and `/ops` of one in Chromium."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiokafka import AIOKafkaProducer

from tests.client import StreamClient
from tests.conftest import MakeTopics, StartWorker
from tests.demo.webdriver import Browser
from tests.integration.conftest import OpenStream, SetUp
from tests.records import RecordWriter
from tests.worker import Worker

TOKEN = "of the person on call"
pytestmark = pytest.mark.parametrize("broker", ["embedded"], indirect=True)
"""The page does not depend on the broker; tests of its data run on both brokers."""

SUM = "Number(document.querySelector('#workers tfoot [data-field={}]')?.textContent)"
SENT = "Number(document.querySelector('#workers-hint').dataset.sent)"
STATES = "[...document.querySelectorAll('#workers tbody .state')].map((each) => each.dataset.state)"
STREAMS = "document.querySelectorAll('#user-streams tbody tr')"
ROWS = "document.querySelectorAll('#sample tbody tr')"


async def open_streams(
    open_stream: OpenStream, user: str, *workers: tuple[Worker, int]
) -> list[StreamClient]:
    return [await open_stream(worker, user) for worker, count in workers for _ in range(count)]


async def look_up(browser: Browser, user: str) -> None:
    await browser.run(f"document.querySelector('#user').value = '{user}'")
    await browser.click("#user-form button")


async def test_its_numbers_are_the_facts(
    topics: MakeTopics,
    start_worker: StartWorker,
    open_stream: OpenStream,
    producer: AIOKafkaProducer,
    browser: Browser,
    user: str,
) -> None:
    served = await topics(workers=1)
    first, second = await start_worker(served, fleet_name="staging"), await start_worker(served)
    clients = await open_streams(open_stream, user, (first, 4), (second, 3))
    await browser.open(f"{first.ops_url}/ops")
    await browser.wait_for(f"return {SUM.format('streams')} === 7")
    await browser.expect("return document.title", "staging · Fleet · 7 streams")
    legend = "return document.querySelector('[data-chart=p99] .keys').textContent"
    await browser.expect(legend, "p99p90p50")
    empty = (
        "[...document.querySelectorAll('.plot svg')].filter((each) => !each.querySelector('.line'))"
    )
    await browser.expect(f"return {empty}.length", 0)
    swatches = "document.querySelectorAll('[data-chart=p99] .keys .line').length"
    await browser.expect(f"return {swatches}", 3)
    await browser.expect(f"return {STATES}", ["ready", "ready"])

    await RecordWriter(producer, served).numbered(user, range(20))
    for client in clients:
        await client.wait_for(20)
    await browser.wait_for(f"return {SENT} === 140")
    await browser.wait_for(f"return {ROWS}.length > 0")
    sample = await browser.run("return document.querySelector('#sample tbody').innerText")
    assert user not in sample
    assert '"n"' not in sample
    await browser.wait_for("return document.querySelectorAll('.line').length > 8")
    said = "document.querySelector('.plot').ariaValueText"
    await browser.wait_for(f"return {said}.startsWith('now 7, on 2 workers; last ')")
    # A worker that had too little of a busy machine is reported as busy, for one status.
    await browser.expect("return document.querySelectorAll('.concern').length", 0)

    await look_up(browser, user)
    await browser.wait_for(f"return {STREAMS}.length === 4")
    answer = "document.querySelector('#user-answer').innerText"
    await browser.wait_for(
        f"return {answer}.includes('4 streams are open at this operations port')"
    )
    await browser.click("#user-streams .end")
    assert len([client for client in clients if client.is_open]) == 7, "it asks once more"
    await browser.click("#user-streams .end")
    await browser.wait_for(f"return {STREAMS}.length === 3")

    await browser.run(f"document.querySelector('#id').value = '{clients[0].last_event_id}'")
    await browser.click("#id-form button")
    await browser.wait_for("return /served from memory/.test(document.body.innerText)")

    assert await browser.complaints() == []


async def test_with_a_token_a_browser_signs_in_and_out(set_up: SetUp, browser: Browser) -> None:
    stage = await set_up(ops_token=TOKEN)
    await browser.open(f"{stage.worker.ops_url}/ops")
    await browser.wait_for("return !document.querySelector('#sign-in').hidden")

    await sign_in(browser, "a guess")
    problem = "return document.querySelector('#sign-in-problem').textContent"
    assert "not GATEWAY_OPS_TOKEN" in await browser.wait_for(problem)
    await sign_in(browser, TOKEN)
    await browser.wait_for("return document.querySelector('#link').dataset.state === 'live'")
    assert await browser.run("return document.cookie") == "", "no script can see it"
    assert TOKEN not in stage.worker.log()

    await browser.click("#sign-out")
    await browser.wait_for("return !document.querySelector('#sign-in').hidden")


async def sign_in(browser: Browser, token: str) -> None:
    await browser.run(f"document.querySelector('#token').value = '{token}'")
    await browser.click("#sign-in button")


async def test_nothing_sticks_out_on_a_phone_and_every_control_has_a_name(
    set_up: SetUp, browser: Browser
) -> None:
    stage = await set_up(workers=1)
    await browser.open(f"{stage.worker.ops_url}/ops")
    await browser.wait_for("return !document.querySelector('#main').hidden")
    for width in (1280, 360):
        await browser.emulate(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=800,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        await browser.wait_for(f"return document.documentElement.scrollWidth <= {width}")
        await browser.expect(UNNAMED, [])


UNNAMED = """
    const named = (e) => e.ariaLabel || e.innerText.trim() || e.labels?.length
        || e.getAttribute("aria-labelledby");
    return [...document.querySelectorAll("button, input, [tabindex='0'], section, table")]
        .filter((e) => e.checkVisibility() && !named(e)).map((e) => e.outerHTML.slice(0, 80));
"""

FOCUS = """
    const e = document.activeElement, shown = e.closest("label")?.querySelector("span") ?? e;
    const name = e.ariaLabel ?? e.labels?.[0]?.innerText ?? e.innerText;
    return [name, getComputedStyle(shown).outlineStyle];
"""

CHARTS = "Streams; Events a second; Delivery, p99; Lag; Replays; Gaps and rejects; Memory; CPU"
WAY = (
    f"{CHARTS}; Table of workers; Records/s; Map of partitions; All as a table; Pause;"
    " Table of events; User id; Show; Table of the user's streams; End; Last event id; Explain"
)
"""What the key Tab leads to."""


async def test_keyboard_reaches_every_control_and_every_control_has_an_accessible_name(
    set_up: SetUp, open_stream: OpenStream, browser: Browser, user: str
) -> None:
    """In dark mode, with so many partitions that the map omits their numbers."""
    stage = await set_up(128, workers=1)
    [client] = await open_streams(open_stream, user, (stage.worker, 1))
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    await browser.emulate("Emulation.setEmulatedMedia", features=dark)
    await browser.open(f"{stage.worker.ops_url}/ops")
    await browser.wait_for(f"return {SUM.format('streams')} === 1")
    await look_up(browser, user)
    await browser.wait_for(f"return {STREAMS}.length === 1")

    await browser.run("document.querySelector('.skip').focus()")
    for name in WAY.split("; "):
        await browser.press("Tab")
        focused, outline = await browser.run(FOCUS)
        assert focused.startswith(name)
        assert outline == "solid", f"the focus is to be seen at {name}"

    await browser.run("document.querySelector('#heat').focus()")
    await browser.press("Home")
    value = "return document.activeElement.ariaValueText"
    await browser.wait_for(f"{value}.startsWith('Partition 0: ')")
    await browser.press("End")
    await browser.expect(value, "Broadcast log 0: 0 records/s, 1 stream, lag 0")
    await browser.run("document.querySelector('.plot').focus()")
    await browser.press("ArrowLeft")
    said = await browser.run(value)
    drawn = "return document.querySelectorAll('.plot')[1].ariaValueNow"
    before = await browser.run(drawn)
    await browser.wait_for(f"{drawn} > {before}")
    assert await browser.run(value) == said, "updates without a request are not read out"

    found = await browser.accessible()
    sliders = [name for role, name in found if role == "slider"]
    assert sorted(sliders) == sorted(["Map of partitions", *CHARTS.split("; ")])
    tables = [name for role, name in found if role == "table"]
    assert len(tables) == 3
    assert all(tables)
    assert await browser.run(DIM) == []

    await browser.run("document.querySelector('#user-streams .end').focus()")
    await browser.press("Enter")
    sure = "document.querySelector('#user-sure').textContent"
    await browser.wait_for(f"return {sure}.includes('press once more')")
    await browser.press("Enter")
    await browser.wait_for("return document.activeElement.id === 'user'")
    await client.wait_for_end()


DIM = r"""
    const pixel = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (colour) => {
      pixel.clearRect(0, 0, 1, 1);
      pixel.fillStyle = colour;
      pixel.fillRect(0, 0, 1, 1);
      return [...pixel.getImageData(0, 0, 1, 1).data];
    };
    const over = (a, b) => [0, 1, 2].map((n) => a[n] * a[3] / 255 + b[n] * (1 - a[3] / 255));
    const light = (rgb) => rgb
      .map((value) => value / 255)
      .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
      .reduce((sum, value, n) => sum + [0.2126, 0.7152, 0.0722][n] * value, 0);
    const white = [255, 255, 255];
    const ground = (e) =>
      e ? over(rgba(getComputedStyle(e).backgroundColor), ground(e.parentElement)) : white;
    const found = [];
    for (const e of document.querySelectorAll("body *")) {
      const says = [...e.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
      if (!says || !e.checkVisibility()) continue;
      const behind = ground(e);
      const text = over(rgba(getComputedStyle(e).color), behind);
      const [less, more] = [light(behind), light(text)].sort((a, b) => a - b);
      if ((more + 0.05) / (less + 0.05) < 4.5) found.push(e.outerHTML.slice(0, 80));
    }
    return found;
"""
"""Texts with less contrast than 4.5 to 1 (WCAG 2.2, 1.4.3)."""


@asynccontextmanager
async def proxy(target: str, prefix: str) -> AsyncIterator[str]:
    """Yield the URL of a proxy that serves `target` below a path prefix, and nothing else."""

    async def pass_on(request: web.Request) -> web.StreamResponse:
        url = f"{target}/{request.match_info['path']}?{request.query_string}"
        async with http.get(url) as answer:
            response = web.StreamResponse(status=answer.status)
            response.content_type = answer.content_type
            await response.prepare(request)
            async for part in answer.content.iter_any():
                await response.write(part)
            return response

    app = web.Application()
    app.router.add_get(f"{prefix}/{{path:.*}}", pass_on)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    async with aiohttp.ClientSession() as http:
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}{prefix}"
        finally:
            await runner.cleanup()


async def test_it_works_below_a_path_prefix(
    topics: MakeTopics,
    start_worker: StartWorker,
    open_stream: OpenStream,
    browser: Browser,
    user: str,
) -> None:
    worker = await start_worker(await topics(workers=1))
    await open_streams(open_stream, user, (worker, 2))
    async with proxy(worker.ops_url, "/tools/events") as url:
        await browser.open(f"{url}/ops")
        await browser.wait_for(f"return {SUM.format('streams')} === 2")
        await look_up(browser, user)
        await browser.wait_for(f"return {STREAMS}.length === 2")
        await browser.open("about:blank")
