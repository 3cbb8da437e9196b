"""`gateway demo` as a process, and its page in Chromium."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.child import Child, free_port, is_running
from tests.demo.webdriver import Browser
from tests.eventually import eventually
from tests.worker import status

COUNTS = """
    const device = document.querySelectorAll(".device")[%d];
    const counts = [...device.querySelectorAll("[data-count]")];
    return Object.fromEntries(counts.map((dd) => [dd.dataset.count, Number(dd.textContent)]));
"""
STATE = 'return document.querySelectorAll(".device")[%d]?.dataset.state'
ROWS = 'return document.querySelectorAll(".event").length'

CONTINUITY = """
    const { Continuity } = await import("/demo/continuity.js");
    const continuity = new Continuity();
    continuity.open({ ai: 5, import: 0 });
    const numbers = %s;
    const origins = numbers.map(([lane, number, id]) => {
        if (lane === "reopen") return continuity.open(number);
        if (lane === "keep") return continuity.keep((name) => name === number);
        if (lane === "gap") return continuity.excuse();
        return continuity.count(lane, number, id ?? `${lane}-${number}`);
    });
    const { lost, repeated, missed, replayed } = continuity;
    return { origins, lost, repeated, missed, replayed };
"""

CONTINUITY_CASES: list[tuple[list[Any], dict[str, Any]]] = [
    ([["ai", 6], ["ai", 7]], {"origins": ["live", "live"], "lost": 0, "repeated": 0}),
    ([["ai", 6], ["ai", 9]], {"lost": 2, "repeated": 0}),
    ([["ai", 8]], {"lost": 2, "repeated": 0}),
    ([["portfolio", 2]], {"lost": 1, "repeated": 0}),
    ([["ai", 6], ["ai", 6, "other-id"]], {"lost": 0, "repeated": 1}),
    ([["ai", 6, "id"], ["ai", 7, "id"]], {"lost": 0, "repeated": 1}),
    ([["ai", 5], ["ai", 6]], {"lost": 0, "repeated": 0}),
    (
        [["ai", 6], ["reopen", {"ai": 8}], ["ai", 7], ["ai", 8], ["ai", 9]],
        {"origins": ["live", 2, "replayed", "replayed", "live"], "missed": 2, "replayed": 2},
    ),
    ([["ai", 6], ["reopen", {"ai": 8}], ["ai", 8]], {"lost": 1, "missed": 2, "replayed": 1}),
    (
        [["ai", 6], ["reopen", {"ai": 2}], ["ai", 1, "a"], ["ai", 2, "b"], ["ai", 3, "c"]],
        {"origins": ["live", 2, "replayed", "replayed", "live"], "lost": 0, "repeated": 0},
    ),
    ([["ai", 6], ["reopen", {"ai": 5}], ["ai", 7]], {"lost": 0, "missed": 0, "replayed": 0}),
    (
        [["reopen", {"ai": 5, "security": 2}], ["security", 1], ["security", 2], ["security", 3]],
        {"origins": [2, "replayed", "replayed", "live"], "missed": 2, "replayed": 2, "lost": 0},
    ),
    ([["reopen", {"ai": 5, "security": 2}], ["security", 2]], {"lost": 1, "missed": 2}),
    (
        [["keep", "ai"], ["reopen", {"ai": 5, "import": 9}], ["import", 10]],
        {"origins": [None, 0, "live"], "missed": 0, "lost": 0},
    ),
    ([["ai", 6], ["gap"], ["ai", 90], ["ai", 91]], {"lost": 0, "repeated": 0}),
    ([["ai", 6], ["gap"], ["ai", 90], ["ai", 92]], {"lost": 1, "repeated": 0}),
]
"""Input after an opening with 5 events of `ai`, and the expected result."""


FAILURE_BEFORE_COUNTS = """
    const { Device } = await import("/demo/device.js");
    // The page's own device may open its stream at the same time; its requests stay unanswered.
    const pending = [];
    const answer = (path) =>
        path === "/demo/token?user=tested" ? { token: "tested" } : new Promise((done) => {
            if (path === "/demo/counts?user=tested") pending.push(done);
        });
    window.fetch = async (path) => ({ ok: true, json: () => answer(path) });
    let source;
    window.EventSource = class {
        static CLOSED = 2;
        readyState = 0;
        listeners = {};
        constructor(url) { if (url.includes("access_token=tested")) source = this; }
        addEventListener(type, listener) { this.listeners[type] = listener; }
        close() {}
    };
    const turn = () => new Promise((done) => setTimeout(done));
    const view = { clear() {}, state() {}, note() {}, event() {} };
    const device = new Device({ types: ["ai"], categories: { ai: ["ai"] } }, view);
    device.follow("tested", ["ai"]);
    await turn();
    const event = (seq) => {
        const data = JSON.stringify({ lane: "ai", seq });
        source.listeners.ai({ type: "ai", data, lastEventId: `id-${seq}` });
    };
    source.onopen();
    await turn();
    event(1);
    source.onerror();
    source.onopen();
    await turn();
    event(2);
    for (const done of pending) done({ now: 1, lanes: {} });
    await turn();
    const { received, lost, repeated } = device.continuity;
    return { received, lost, repeated, last: device.lastId, state: device.state };
"""
"""The stream fails and reconnects while an event waits for the lane counts."""


class Demo(Child):
    """`gateway demo` on free ports."""

    def __init__(self, output: Path, *options: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        port = self.url.rpartition(":")[2]
        self.command = [sys.executable, "-m", "gateway", "demo", "--port", port, *options]
        super().__init__([*self.command, "--ops-port", str(free_port())], output)

    async def wait_until_open(self) -> None:
        async with aiohttp.ClientSession() as http:

            async def is_open() -> bool:
                assert self.exit_code is None, f"the demo ended:\n{self.log()}"
                return "/demo" in self.log() and await status(http, f"{self.url}/demo") == 200

            await eventually("the demo is open", is_open)

    def children(self) -> list[int]:
        """Return the direct and indirect child processes of the demo."""
        found = [self.pid]
        for parent in found:
            for task in Path(f"/proc/{parent}/task").glob("*/children"):
                with suppress(OSError):  # the process or the thread has ended
                    found += [int(child) for child in task.read_text().split()]
        return found[1:]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    started = Demo(tmp_path / "demo.log")
    try:
        yield started
    finally:
        started.end()


async def counts(browser: Browser, device: int = 0) -> dict[str, int]:
    result: dict[str, int] = await browser.run(COUNTS % device)
    return result


async def wait_for_state(browser: Browser, state: str, device: int = 0) -> None:
    await browser.wait_for(f"{STATE % device} === {state!r}")


async def wait_for_replay(browser: Browser, at_least: int = 0, device: int = 0) -> dict[str, int]:
    """Return the counts once the missed events, `at_least` so many, were replayed."""
    found: dict[str, int] = {}

    async def replayed() -> bool:
        found.update(await counts(browser, device))
        return found["missed"] >= at_least and found["replayed"] >= found["missed"]

    try:
        await eventually("all missed events are replayed", replayed)
    except AssertionError as error:
        raise AssertionError(f"{error}: {found}") from None
    return found


async def publish(demo: Demo, event_type: str) -> None:
    """Publish an event of the page's user; return when it is in the log."""
    async with aiohttp.ClientSession() as http:
        query = {"user": "alice", "type": event_type}
        async with http.post(f"{demo.url}/demo/send", params=query) as answer:
            assert answer.status == 201, await answer.text()


async def test_no_event_is_lost_or_repeated_across_reconnects(
    demo: Demo, browser: Browser, tmp_path: Path
) -> None:
    await demo.wait_until_open()
    await browser.open(f"{demo.url}/demo")
    await wait_for_state(browser, "live")
    await browser.wait_for(f"{ROWS} > 3")

    await browser.click(".drop")
    await wait_for_state(browser, "dropped")
    await wait_for_state(browser, "live")
    dropped = await wait_for_replay(browser)

    await browser.click(".leave")
    await wait_for_state(browser, "away")
    await browser.wait_for("return /back in [0-9]+ s/.test(document.body.innerText)")
    await publish(demo, "security.login.failed")
    await browser.click(".return")
    await wait_for_state(browser, "live")
    away = await wait_for_replay(browser, at_least=dropped["missed"] + 1)
    assert away["replayed"] == away["missed"]

    await browser.click("#send")
    await browser.wait_for('return document.querySelector(".event.mine")')

    await browser.click("#second")
    await wait_for_state(browser, "live", device=1)
    await browser.click(".device:last-child .drop")
    await wait_for_state(browser, "dropped", device=1)
    await browser.expect(STATE % 0, "live")
    await wait_for_state(browser, "live", device=1)
    await wait_for_replay(browser, device=1)
    await browser.wait_for(
        'return [...document.querySelectorAll(".step")].every((p) => /in step/.test(p.innerText))'
    )

    await browser.click("[name=user][value=bob]")
    await browser.click("[name=category][value=portfolio]")
    await browser.wait_for(f"{ROWS} > 3")
    for device in (0, 1):
        seen = await counts(browser, device)
        assert (seen["lost"], seen["repeated"]) == (0, 0)
    assert await browser.complaints() == []
    (tmp_path / "demo.png").write_bytes(await browser.screenshot())


async def test_the_page_detects_lost_and_repeated_events(demo: Demo, browser: Browser) -> None:
    await demo.wait_until_open()
    await browser.open(f"{demo.url}/demo")
    for happens, expected in CONTINUITY_CASES:
        script = f"return (async () => {{ {CONTINUITY % json.dumps(happens)} }})()"
        result = await browser.run(script)
        assert expected.items() <= result.items(), happens


async def test_events_that_wait_for_the_counts_survive_a_failure_of_the_stream(
    demo: Demo, browser: Browser
) -> None:
    await demo.wait_until_open()
    await browser.open(f"{demo.url}/demo")
    result = await browser.run(f"return (async () => {{ {FAILURE_BEFORE_COUNTS} }})()")
    assert result == {"received": 2, "lost": 0, "repeated": 0, "last": "id-2", "state": "live"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_stopped_demo_leaves_no_process(demo: Demo, number: signal.Signals) -> None:
    await demo.wait_until_open()
    children = demo.children()
    assert children, "the embedded broker is a process"
    demo.signal(number)
    assert demo.wait() == 0, demo.log()
    assert "Traceback" not in demo.log()
    await none_runs(children)


async def test_a_signal_during_the_start_stops_the_demo(demo: Demo) -> None:
    children = await eventually("the broker is started", demo.children)
    demo.signal(signal.SIGINT)
    assert demo.wait() == 0, demo.log()
    await none_runs(children)


async def none_runs(pids: list[int]) -> None:
    """Return when none of the processes runs; the system may be about to remove a dead one."""
    await eventually(f"none of {pids} runs", lambda: not any(map(is_running, pids)))


async def test_a_second_demo_reports_used_ports_and_the_options_to_change_them(
    demo: Demo, tmp_path: Path
) -> None:
    await demo.wait_until_open()
    second = Child(demo.command, tmp_path / "second.log")
    try:
        assert second.wait() == 2
    finally:
        second.end()
    port = demo.url.rpartition(":")[2]
    assert f"port {port} is taken: choose another one with --port" in second.log()
    assert "Traceback" not in second.log()


async def test_the_printed_curl_command_works(demo: Demo) -> None:
    await demo.wait_until_open()
    line = re.search(r"curl -N -H '(Authorization): (Bearer \S+)' (\S+)", demo.log())
    assert line, demo.log()
    name, value, url = line.groups()
    async with (
        aiohttp.ClientSession(headers={name: value}) as http,
        http.get(url) as answer,
    ):
        assert answer.status == 200
        async for text in answer.content:
            if text.startswith(b"event: "):
                return
