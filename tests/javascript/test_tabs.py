"""Tabs that share a connection: whatever happens to one, each has every event once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from contextlib import suppress

import pytest

from tests.demo.webdriver import Browser
from tests.eventually import eventually
from tests.javascript.relay import Relay
from tests.records import TYPE, RecordWriter
from tests.tokens import mint

pytestmark = pytest.mark.parametrize("broker", ["embedded"], indirect=True)

OPEN = """
    window.seen = [];
    window.opened = window.asked = 0;
    import("/api/v1/client.js").then(({ EventStream }) => {
        const options = %s;
        if (options.storage) options.storage = window[options.storage];
        window.stream = new EventStream("/api/v1/events", {
            ...options, token: async () => { window.asked += 1; return %s; },
        });
        stream.onopen = () => (window.opened += 1);
        stream.ongap = ({ data }) => seen.push(data);
        stream.addEventListener(%s, ({ data }) => seen.push(JSON.parse(data).n));
    });
"""
SEEN = "return window.seen"
IS_OPEN = "return window.stream?.readyState === 1"


class Tab:
    def __init__(self, browser: Browser, handle: str, user: str) -> None:
        self.browser = browser
        self.handle = handle
        self.user = user

    async def focus(self) -> None:
        await self.browser.switch_to(self.handle)

    async def start(self, url: str, **options: object) -> None:
        await self.focus()
        await self.browser.open(url)
        script = OPEN % (json.dumps(options), json.dumps(mint(self.user)), json.dumps(TYPE))
        await self.browser.run(script)
        await self.browser.wait_for(IS_OPEN)

    async def until_seen(self, numbers: Iterable[int]) -> None:
        """Return when the tab has received exactly these events."""
        await self.focus()
        expected = list(numbers)
        seen: list[object] = []

        async def there() -> bool:
            seen[:] = await self.browser.run(SEEN)
            return len(seen) >= len(expected)

        with suppress(AssertionError):  # the next line shows more
            await eventually("all events have come", there)
        assert seen == expected

    async def set_state(self, state: str) -> None:
        await self.focus()
        await self.browser.emulate("Page.setWebLifecycleState", state=state)


async def open_tabs(browser: Browser, relay: Relay, user: str, count: int) -> list[Tab]:
    tabs = []
    for _ in range(count):
        tab = Tab(browser, await browser.new_window(), user)
        await tab.start(f"{relay.url}/", share=user, storage="sessionStorage")
        tabs.append(tab)
    return tabs


async def test_tabs_share_one_connection_whichever_of_them_ends(
    browser: Browser, relay: Relay, write: RecordWriter, user: str
) -> None:
    first, second, third = await open_tabs(browser, relay, user, 3)
    assert relay.streams == len(relay.requests) == 1
    await write.numbered(user, range(5))
    for tab in (first, second, third):
        await tab.until_seen(range(5))

    async def write_on(numbers: range) -> None:
        for number in numbers:
            await write.numbered(user, [number])

    async with asyncio.TaskGroup() as meanwhile:  # the tab that leads is closed among events
        meanwhile.create_task(write_on(range(5, 200)))
        await first.focus()
        await browser.wait_for("return seen.length > 20")
        await browser.close_window()
    for tab in (second, third):
        await tab.until_seen(range(200))
    await relay.until_streams(1)
    assert len(relay.requests) == 2

    relay.is_away = True
    relay.cut()
    await write.numbered(user, range(200, 205))
    relay.is_away = False
    for tab in (second, third):
        await tab.until_seen(range(205))
    await relay.until_streams(1)

    await second.set_state("frozen")
    await write.numbered(user, range(205, 210))
    await third.until_seen(range(210))
    assert relay.streams == 1
    await second.set_state("active")
    await second.until_seen(range(210))

    # Away for a moment: the other tab or the gateway delivers the missed events.
    for ends in (third, second):
        await ends.focus()
        await browser.open("about:blank")
        await write.numbered(user, [ends is second])
        if ends is third:
            await second.until_seen([*range(210), 0])
            await third.start(f"{relay.url}/", share=user, storage="sessionStorage")
            await third.until_seen([0])
            await third.focus()
            await browser.close_window()
        else:
            await second.start(f"{relay.url}/", share=user, storage="sessionStorage")
            await second.until_seen([1])
    await relay.until_streams(1)


async def test_a_tab_that_leads_in_silence_is_replaced(
    browser: Browser, relay: Relay, write: RecordWriter, user: str
) -> None:
    tabs = []
    for _ in range(2):
        tab = Tab(browser, await browser.new_window(), user)
        await tab.start(f"{relay.url}/", share=user, silence=1500)
        tabs.append(tab)
    first, second = tabs
    await first.focus()
    await browser.run("BroadcastChannel.prototype.postMessage = () => {}")
    await relay.until_requests(2)
    await second.focus()
    await browser.wait_for(IS_OPEN)
    await write.numbered(user, range(3))
    await second.until_seen(range(3))
