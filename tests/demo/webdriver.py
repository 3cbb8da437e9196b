"""A small client of W3C WebDriver for tests of pages in Chromium."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import signal
import tempfile
from contextlib import AsyncExitStack, suppress
from typing import Any, Self

import aiohttp

from tests.child import free_port
from tests.eventually import eventually

CHROMIUM_OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

_KEY_CODES = {"Tab": 9, "Enter": 13, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39}
_KEY_TEXTS = {"Enter": "\r"}

_PASSING = ("no such element", "stale element reference")
"""Errors of WebDriver on a page that is being drawn."""

PREFERENCES = {"profile.cookie_controls_mode": 0}
"""Third-party cookies are enabled, as in many browsers."""


def find_browser() -> tuple[str, str] | None:
    """Return the paths of Chromium and its driver, or None where one is missing."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    return (chromium, driver) if chromium and driver else None


class Browser:
    """A headless Chromium with one window, open while the `async with` block runs."""

    def __init__(self, chromium: str, driver: str, width: int = 1280, height: int = 860) -> None:
        self._chromium = chromium
        self._driver = driver
        self._size = f"--window-size={width},{height}"
        self._url = ""
        self._http: aiohttp.ClientSession
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as resources:
            profile = resources.enter_context(
                tempfile.TemporaryDirectory(prefix="demo-browser-", ignore_cleanup_errors=True)
            )
            port = free_port()
            process = await asyncio.create_subprocess_exec(
                self._driver,
                f"--port={port}",
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
            resources.push_async_callback(_end_group, process)
            self._http = await resources.enter_async_context(aiohttp.ClientSession())
            self._url = f"http://127.0.0.1:{port}"
            await self._wait_until_ready()
            options = {
                "args": [*CHROMIUM_OPTIONS, self._size, f"--user-data-dir={profile}"],
                "prefs": PREFERENCES,
            }
            session = await self._call(
                "POST",
                "/session",
                {
                    "capabilities": {
                        "alwaysMatch": {
                            "browserName": "chrome",
                            "goog:chromeOptions": {**options, "binary": self._chromium},
                            "goog:loggingPrefs": {"browser": "ALL"},
                        }
                    }
                },
            )
            self._url += f"/session/{session['sessionId']}"
            resources.push_async_callback(self._call, "DELETE", "")
            self._resources = resources.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._resources.aclose()

    async def open(self, url: str) -> None:
        await self._call("POST", "/url", {"url": url})

    async def new_window(self, kind: str = "window") -> str:
        """Open a window or a "tab", switch to it and return its handle."""
        opened = await self._call("POST", "/window/new", {"type": kind})
        handle: str = opened["handle"]
        await self.switch_to(handle)
        return handle

    async def switch_to(self, handle: str) -> None:
        """Switch to a window."""
        await self._call("POST", "/window", {"handle": handle})

    async def close_window(self) -> None:
        """Close the present window; call `switch_to` afterwards."""
        await self._call("DELETE", "/window")

    async def run(self, script: str) -> Any:
        """Run the body of a JavaScript function and return its result."""
        return await self._call("POST", "/execute/sync", {"script": script, "args": []})

    async def click(self, selector: str) -> None:
        """Wait for an element and click it; one that the page replaces meanwhile is found again."""

        async def clicked() -> bool:
            try:
                found = await self._call(
                    "POST", "/element", {"using": "css selector", "value": selector}
                )
                (element,) = found.values()
                await self._call("POST", f"/element/{element}/click", {})
            except AssertionError as error:
                problems.append(error)
                if any(kind in str(error) for kind in _PASSING):
                    return False
                raise
            return True

        problems: list[AssertionError] = []
        try:
            await eventually(f"{selector} is clicked", clicked)
        except AssertionError as error:
            raise AssertionError(f"{error}: {problems[-1:]}") from None

    async def wait_for(self, script: str) -> Any:
        """Return the first true result of `script`. Raises `AssertionError` on timeout."""
        return await eventually(script, lambda: self.run(script))

    async def expect(self, script: str, value: object) -> None:
        """Return when `script` returns exactly `value`; the page may be about to be updated."""

        async def equal() -> bool:
            results.append(await self.run(script))
            return bool(results[-1] == value)

        results: list[object] = []
        try:
            await eventually(f"{script} returns {value!r}", equal)
        except AssertionError as error:
            raise AssertionError(f"{error}: {results[-1:]}") from None

    async def emulate(self, command: str, **parameters: object) -> None:
        """Send a command of the Chrome DevTools protocol."""
        await self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    async def press(self, key: str) -> None:
        """Press a named key: one of `_KEY_CODES`."""
        codes = {"windowsVirtualKeyCode": _KEY_CODES[key], "text": _KEY_TEXTS.get(key, "")}
        for kind in ("keyDown", "keyUp"):
            await self.emulate("Input.dispatchKeyEvent", type=kind, key=key, code=key, **codes)

    async def accessible(self) -> list[tuple[str, str]]:
        """Return roles and names of the accessibility tree, in order."""
        command = {"cmd": "Accessibility.getFullAXTree", "params": {}}
        tree = await self._call("POST", "/goog/cdp/execute", command)
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in tree["nodes"]
            if not node["ignored"]
        ]

    async def complaints(self) -> list[str]:
        """Return the errors on the console since the last call."""
        entries = await self._call("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    async def screenshot(self) -> bytes:
        """Return a screenshot of the window as PNG."""
        return base64.b64decode(await self._call("GET", "/screenshot"))

    async def _wait_until_ready(self) -> None:
        async def ready() -> bool:
            try:
                return bool((await self._call("GET", "/status"))["ready"])
            except aiohttp.ClientConnectionError:
                return False

        await eventually("chromedriver is ready", ready)

    async def _call(self, method: str, path: str, body: object = None) -> Any:
        async with self._http.request(method, self._url + path, json=body) as answer:
            value = (await answer.json())["value"]
        assert answer.ok, f"{method} {path}: {value}"
        return value


async def _end_group(process: asyncio.subprocess.Process) -> None:
    """Kill the process group of the driver, which includes Chromium."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
