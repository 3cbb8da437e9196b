"""A worker as operators run it: the program `gateway serve` in its own process."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.child import Child, free_port
from tests.eventually import eventually


class Worker(Child):
    """A worker started with `settings`, which are environment variables.

    It listens on free ports, or on those of a `former` one that has ended. No setting of the
    environment that the tests run in reaches it. `module` is the program.
    """

    def __init__(
        self,
        settings: Mapping[str, str],
        output: Path,
        former: Worker | None = None,
        arguments: Iterable[object] = (),
        module: str = "gateway",
    ) -> None:
        self.port: int = free_port() if former is None else former.port
        self.ops_port: int = free_port() if former is None else former.ops_port
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")
        }
        environment = {
            **inherited,
            "GATEWAY_LISTEN": f"127.0.0.1:{self.port}",
            "GATEWAY_OPS_LISTEN": f"127.0.0.1:{self.ops_port}",
            "GATEWAY_LOG_FORMAT": "json",
            **settings,
        }
        command = [sys.executable, "-m", module, "serve", *map(str, arguments)]
        super().__init__(command, output, environment)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def events_url(self) -> str:
        return f"{self.url}/api/v1/events"

    @property
    def ops_url(self) -> str:
        return f"http://127.0.0.1:{self.ops_port}"

    async def wait_until_ready(self) -> None:
        """Return when `/readyz` answers 200; raise `AssertionError` with the log on timeout."""
        async with aiohttp.ClientSession() as http:

            async def ready() -> bool:
                assert self.exit_code is None, f"the worker ended:\n{self.log()}"
                return await status(http, f"{self.ops_url}/readyz") == 200

            try:
                await eventually("the worker is ready", ready)
            except AssertionError as error:
                raise AssertionError(f"{error}\n{self.log()}") from None

    async def metric(self, name: str, **labels: str) -> float:
        """Return the sum of the samples with that name and those labels, or 0."""
        return await metric(self.ops_url, name, **labels)

    async def wait_for_metric(self, name: str, value: float, **labels: str) -> None:
        """Return when the sum of those samples is exactly `value`."""

        seen: list[float] = []

        async def reached() -> bool:
            seen.append(await self.metric(name, **labels))
            return seen[-1] == value

        try:
            await eventually(f"{name} {labels or ''} is {value:g}", reached)
        except AssertionError as error:
            raise AssertionError(f"{error}: {seen[-1:]}") from None

    def entries(self, event: str = "") -> list[dict[str, Any]]:
        """Return the lines of the log, or those of one event; each complete line must be JSON."""
        whole, newline, _ = self.log().rpartition("\n")
        every = [json.loads(line) for line in (whole + newline).splitlines()]
        return [entry for entry in every if not event or entry["event"] == event]

    async def wait_for_entries(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        """Return the lines of an event once there are `count` or more.

        A worker writes its log in a thread of its own: a line may follow what it reports.
        """

        def logged() -> list[dict[str, Any]]:
            found = self.entries(event)
            return found if len(found) >= count else []

        return await eventually(f"{event!r} is logged {count} times", logged)

    async def wait_for_log(self, *words: str, offset: int = 0) -> str:
        """Return the first line of the log, from a byte on, that contains all of the words."""

        def found() -> str:
            whole = self.log(offset).rpartition("\n")[0]
            lines = (line for line in whole.splitlines() if all(word in line for word in words))
            return next(lines, "")

        return await eventually(f"the log has {words}", found)


async def metric(ops_url: str, name: str, **labels: str) -> float:
    """Return the sum of the samples with that name and those labels, or 0."""
    async with aiohttp.ClientSession() as http, http.get(f"{ops_url}/metrics") as response:
        families = text_string_to_metric_families(await response.text())
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


async def status(http: aiohttp.ClientSession, url: str) -> int | None:
    """Return the status of the response to a GET, or `None` while the port is closed."""
    try:
        async with http.get(url) as response:
            return response.status
    except aiohttp.ClientConnectionError:
        return None
