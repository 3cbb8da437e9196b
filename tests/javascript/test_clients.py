"""Each client against a stream that is filtered, dropped, resumed, closed and reopened."""

from __future__ import annotations

import asyncio
import json
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.demo.webdriver import Browser
from tests.eventually import eventually
from tests.integration.conftest import new_user
from tests.javascript.node import Seen, node
from tests.javascript.packages import packages
from tests.javascript.relay import Relay
from tests.javascript.site import Answer, serving
from tests.records import TYPE, RecordWriter
from tests.tokens import mint
from tests.worker import Worker

embedded = pytest.mark.parametrize("broker", ["embedded"], indirect=True)
"""What a client does with a stream does not depend on the broker."""

TOKEN_SECONDS = (8.0, 24.0, 72.0)
"""Of the first token: again with a longer life where a busy machine has taken all of the last one
to come to its end."""

RENEWED = 0.88
"""The part of its life after which there is a new token: a stream ends in the last tenth."""

TYPES = [TYPE, "import.completed", "stream.gap", "stream.close"]

START = """
    const { tokens, name, site, ...others } = %s;
    window.seen = [];
    const token = async () => Date.now() < tokens.until ? tokens.first : tokens.second;
    const tell = ({ type, data, lastEventId }) =>
        seen.push({ type, data, id: lastEventId });
    import(`${site}/programs/${name}.mjs`)
        .then((program) => program.start({ ...others, token }, tell))
        .catch((error) => seen.push({ type: "failed", data: String(error) }));
"""

HOST, COOKIE_HOST = "127.0.0.1", "127.0.0.2"
"""A cookie is for all ports of a host, and wins over the query."""

IN_CHROMIUM = ["gateway", "event-source", "event-source-query", "fetch", "fetch-event-source"]
IN_NODE = ["gateway", "fetch", "eventsource", "fetch-event-source"]

FORGETFUL = {"eventsource"}
"""They do not take the id of a block without data, and come back with that of the last event."""


class Running(Protocol):
    """A client that runs."""

    @abstractmethod
    async def seen(self) -> Seen:
        """Return everything that it has seen so far."""


class InChromium:
    def __init__(self, browser: Browser, window: str, looking: asyncio.Lock) -> None:
        self._browser = browser
        self._window = window
        self.looking = looking

    async def seen(self) -> Seen:
        async with self.looking:
            await self._browser.switch_to(self._window)
            result: Seen = await self._browser.run("return window.seen")
        return result


def numbers(seen: Seen) -> list[int]:
    return [json.loads(each["data"])["n"] for each in seen if each.get("type") == TYPE]


def reasons(seen: Seen, event: str) -> list[str]:
    found = [each["data"] for each in seen if each.get("type") == f"stream.{event}"]
    return [json.loads(data)["reason"] for data in found]


async def until_numbers(client: Running, count: int) -> None:
    """Return when the first so many have come, in order and each once."""

    async def there() -> bool:
        return len(numbers(await client.seen())) >= count

    try:
        await eventually(f"{count} events have come", there)
    except AssertionError as error:
        raise AssertionError(f"{error}; seen: {(await client.seen())[-12:]}") from None
    assert numbers(await client.seen()) == list(range(count))


async def until_told(client: Running, event: str, reason: str) -> None:
    async def told() -> bool:
        seen = await client.seen()
        return reason in reasons(seen, event)

    await eventually(f"stream.{event} has told {reason}", told)


def resumed_with(request: dict[str, str]) -> str:
    query = parse_qs(urlsplit(request["target"]).query)
    return request.get("last-event-id") or query["Last-Event-ID"][0]


async def exercise(
    client: Running,
    relay: Relay,
    write: RecordWriter,
    user: str,
    renewed: str,
    *,
    forgetful: bool = False,
) -> bool:
    """Take a client through everything that happens to a stream.

    False: it had the renewed token before the first one ended a stream.
    """
    await until_told(client, "gap", "invalid")
    await write.event(user, "import.completed")  # of another category
    await write.numbered(user, range(3))
    await until_numbers(client, 3)

    of_event: str = (await client.seen())[-1]["id"]
    await write.noise(1, 0)

    await eventually("a heartbeat has brought another id", lambda: relay.last_id != of_event)
    # Later ones have the same id. Two seconds after the first the client has read it.
    beats = relay.beats + 4
    await eventually("heartbeats follow", lambda: relay.beats >= beats)
    relay.is_away = True
    relay.cut()
    heartbeat = relay.last_id
    await write.numbered(user, range(3, 6))
    asked = len(relay.requests)
    relay.is_away = False
    await until_numbers(client, 6)
    expected = of_event if forgetful else heartbeat
    assert resumed_with(relay.requests[asked]) == expected

    if has(relay.requests[-1], renewed):
        return False
    await until_told(client, "close", "token_expired")
    await write.numbered(user, range(6, 9))
    await until_numbers(client, 9)
    assert {each.get("type") for each in await client.seen()} <= {None, *TYPES} - {TYPES[1]}
    assert reasons(await client.seen(), "gap") == ["invalid"]
    assert has(relay.requests[-1], renewed)
    return True


def has(request: dict[str, str], token: str) -> bool:
    """Return whether a request carries the token, wherever it stands."""
    return any(token in text for text in request.values())


def settings_of(relay: Relay, user: str, seconds: float) -> dict[str, Any]:
    now = time.time()
    return {
        "url": f"{relay.url}/api/v1/events?categories=portfolio&Last-Event-ID=nonsense",
        "types": TYPES,
        "tokens": {
            "first": mint(user, lifetime=seconds),
            "second": mint(user),
            "until": (now + RENEWED * seconds) * 1000,
        },
    }


async def give_cookie(browser: Browser, url: str, token: str) -> None:
    await browser.emulate("Network.setCookie", url=url, name="token", value=token, httpOnly=True)


@asynccontextmanager
async def named(name: str) -> AsyncIterator[None]:
    """Say which client it was."""
    try:
        yield
    except Exception as error:
        error.add_note(f"the client was {name}")
        raise


async def in_time(name: str, one: Callable[[str, float], Awaitable[bool]]) -> None:
    """Take a client through everything, again where a token was renewed too early."""
    async with named(name):
        for seconds in TOKEN_SECONDS:
            if await one(name, seconds):
                return
        raise AssertionError("the token was renewed before a stream ended, each time")


@embedded
async def test_clients_in_node(worker: Worker, write: RecordWriter, tmp_path: Path) -> None:
    await packages()

    async def one(name: str, seconds: float) -> bool:
        user = new_user()
        async with Relay(worker.port) as relay:
            settings = settings_of(relay, user, seconds)
            renewed, forgetful = settings["tokens"]["second"], name in FORGETFUL
            async with node(name, settings, tmp_path / f"{name}-{seconds}") as client:
                return await exercise(client, relay, write, user, renewed, forgetful=forgetful)

    async with asyncio.TaskGroup() as clients:
        for name in IN_NODE:
            clients.create_task(in_time(name, one))


async def test_none_takes_an_event_for_seen_of_which_only_the_beginning_came(
    tmp_path: Path,
) -> None:
    await packages()
    begun = "retry: 10\nid: 1\ndata: a\n\nid: 2\ndata: b\n"

    async def one(name: str) -> None:
        async with named(name), serving() as site:
            site.answers = [Answer(text=begun, ends=True), Answer()]
            tokens = {"first": "old", "second": "new", "until": 0}
            settings = {"url": f"{site.url}/events", "types": [], "tokens": tokens}
            async with node(name, settings, tmp_path / name):
                await eventually("it has come back", lambda: len(site.requests) > 1)
            assert site.requests[1][1]["last-event-id"] == "1"

    async with asyncio.TaskGroup() as clients:
        for name in IN_NODE:
            clients.create_task(one(name))


@embedded
async def test_clients_in_chromium(worker: Worker, write: RecordWriter, browser: Browser) -> None:
    library = await packages() / "@microsoft" / "fetch-event-source" / "lib" / "esm"
    looking = asyncio.Lock()

    async def one(name: str, seconds: float) -> bool:
        user = new_user()
        host = COOKIE_HOST if name == "event-source" else HOST
        async with Relay(worker.port, host) as relay, asyncio.TaskGroup() as meanwhile:
            async with looking:
                client = InChromium(browser, await browser.new_window(), looking)
                settings = settings_of(relay, user, seconds) | {
                    "name": name,
                    "site": site.url,
                    "client": f"{relay.url}/api/v1/client.js",
                    "library": f"{site.url}/library/fetch.js",
                }
                tokens = settings["tokens"]
                if name == "event-source":
                    await give_cookie(browser, relay.url, tokens["first"])
                await browser.open(f"{relay.url}/")
                await browser.run(START % json.dumps(settings))
            if name == "event-source":
                meanwhile.create_task(renew(relay.url, tokens))
            return await exercise(client, relay, write, user, tokens["second"])

    async def renew(url: str, tokens: dict[str, Any]) -> None:
        await asyncio.sleep(tokens["until"] / 1000 - time.time())  # as an application does
        async with looking:
            await give_cookie(browser, url, tokens["second"])

    async with serving(library) as site, asyncio.TaskGroup() as clients:
        for name in IN_CHROMIUM:
            clients.create_task(in_time(name, one))
