"""The dashboard as the person on call meets it: two workers, and `/ops` of one in Chromium."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.records import RecordWriter

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

    from tests.client import StreamClient
    from tests.conftest import MakeTopics, StartWorker
    from tests.demo.webdriver import Browser
    from tests.integration.conftest import OpenStream
    from tests.worker import Worker

TOKEN = "of the person on call"
SOON = 30.0

pytestmark = pytest.mark.parametrize("broker", ["embedded"], indirect=True)
"""What the page shows does not depend on the broker; what it is made from runs on both."""

SUM = "Number(document.querySelector('#workers tfoot [data-field={}]').textContent)"
SENT = "Number(document.querySelector('#workers-hint').dataset.sent)"
STATES = "[...document.querySelectorAll('#workers tbody .state')].map((each) => each.dataset.state)"
STREAMS = "document.querySelectorAll('#user-streams tbody tr')"
ROWS = "document.querySelectorAll('#sample tbody tr')"


async def open_streams(
    open_stream: OpenStream, user: str, *workers: tuple[Worker, int]
) -> list[StreamClient]:
    clients = [await open_stream(worker, user) for worker, count in workers for _ in range(count)]
    for client in clients:
        await client.wait_for(lambda client: client.last_event_id)
    return clients


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
    first, second = await start_worker(served), await start_worker(served)
    clients = await open_streams(open_stream, user, (first, 4), (second, 3))
    await browser.open(f"{first.ops_url}/ops")
    await browser.wait_for(f"return {SUM.format('streams')} === 7", SOON)
    assert await browser.run(f"return {STATES}") == ["ready", "ready"]

    await RecordWriter(producer, served).numbered(user, range(20))
    for client in clients:
        await client.wait_for(20)
    await browser.wait_for(f"return {SENT} === 140", SOON)
    await browser.wait_for(f"return {ROWS}.length > 0")
    sample = await browser.run("return document.querySelector('#sample tbody').innerText")
    assert user not in sample
    assert '"n"' not in sample
    assert await browser.run("return document.querySelectorAll('.line').length") > 8
    title = await browser.run("return document.querySelector('.plot').ariaLabel")
    assert title.startswith("Streams, last ")
    assert await browser.run("return document.querySelectorAll('.concern').length") == 0

    await look_up(browser, user)
    await browser.wait_for(f"return {STREAMS}.length === 4")
    assert "4 streams are open at this worker" in await browser.run(
        "return document.querySelector('#user-answer').innerText"
    )
    await browser.click("#user-streams .end")
    assert len([client for client in clients if client.is_open]) == 7, "it asks once more"
    await browser.click("#user-streams .end")
    await browser.wait_for(f"return {STREAMS}.length === 3")

    await browser.run(f"document.querySelector('#id').value = '{clients[0].last_event_id}'")
    await browser.click("#id-form button")
    await browser.wait_for("return /served from memory/.test(document.body.innerText)")

    assert await browser.complaints() == []


async def test_with_a_token_a_browser_signs_in_and_out(
    topics: MakeTopics, start_worker: StartWorker, browser: Browser
) -> None:
    worker = await start_worker(await topics(), ops_token=TOKEN)
    await browser.open(f"{worker.ops_url}/ops")
    await browser.wait_for("return !document.querySelector('#sign-in').hidden")

    await sign_in(browser, "a guess")
    problem = "return document.querySelector('#sign-in-problem').textContent"
    assert "not GATEWAY_OPS_TOKEN" in await browser.wait_for(problem)
    await sign_in(browser, TOKEN)
    await browser.wait_for("return document.querySelector('#link').dataset.state === 'live'")
    assert await browser.run("return document.cookie") == "", "no script can see it"
    assert TOKEN not in worker.log()

    await browser.click("#sign-out")
    await browser.wait_for("return !document.querySelector('#sign-in').hidden")


async def sign_in(browser: Browser, token: str) -> None:
    await browser.run(f"document.querySelector('#token').value = '{token}'")
    await browser.click("#sign-in button")


@pytest.mark.parametrize("width", [360, 1280])
async def test_nothing_sticks_out_on_a_phone_and_every_control_has_a_name(
    topics: MakeTopics, start_worker: StartWorker, browser: Browser, width: int
) -> None:
    worker = await start_worker(await topics(workers=1))
    await browser.emulate(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=800,
        deviceScaleFactor=1,
        mobile=width < 500,
    )
    await browser.open(f"{worker.ops_url}/ops")
    await browser.wait_for("return !document.querySelector('#main').hidden", SOON)
    assert await browser.run("return document.documentElement.scrollWidth") <= width
    tree: Any = await browser.run(
        """
        const named = (e) => e.ariaLabel || e.innerText.trim() || e.labels?.length
            || e.getAttribute("aria-labelledby");
        return [...document.querySelectorAll("button, input, [tabindex='0'], [role=img], section")]
            .filter((e) => e.checkVisibility() && !named(e)).map((e) => e.outerHTML.slice(0, 80));
        """
    )
    assert tree == []
    await browser.run("document.querySelector('.plot').focus()")
    assert await browser.run("return document.activeElement.className") == "plot"
