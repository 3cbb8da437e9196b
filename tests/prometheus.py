"""Debian's Prometheus, scraping what a test runs, and its answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

from tests.child import Child, Service, free_port
from tests.eventually import eventually


class Prometheus(Service):
    """A Prometheus with its own database in `folder`.

    Prometheus scrapes each of `targets` (`host:port`) every `interval` seconds, as the job
    `gateway`, and evaluates the `rules` as often. The configuration is JSON, which is also YAML.
    """

    def __init__(
        self,
        targets: Sequence[str],
        folder: Path,
        *,
        interval: float = 0.5,
        rules: Sequence[Path] = (),
    ) -> None:
        self.port = free_port()
        self._targets = len(targets)
        every = f"{int(interval * 1000)}ms"
        configuration = {
            "global": {"scrape_interval": every, "evaluation_interval": every},
            "rule_files": [str(path) for path in rules],
            "scrape_configs": [
                {
                    "job_name": "gateway",
                    "scrape_timeout": every,
                    "static_configs": [{"targets": list(targets)}],
                }
            ],
        }
        file = folder / "prometheus.json"
        file.write_text(json.dumps(configuration))
        self._log = folder / "prometheus.log"
        self._command = [
            "prometheus",
            f"--config.file={file}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Return when every target was reached; `AssertionError` with its log where none was."""
        self.child = Child(self._command, self._log)

        async def reached() -> bool:
            self.expect_alive()
            try:
                found = await self.query("up")
            except aiohttp.ClientConnectionError:
                return False
            # Counts of a target before its first scrape would not appear as an increase.
            return [series["value"][1] for series in found] == ["1"] * self._targets

        try:
            await eventually("Prometheus scrapes", reached)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.process.log()}") from None

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Evaluate an expression now; return series with their `metric` and `value`."""
        return await self._ask("query", query=expression)

    async def query_range(
        self, expression: str, start: float, end: float, step: float
    ) -> list[dict[str, Any]]:
        """Evaluate an expression over Unix seconds; return series with `metric` and `values`."""
        return await self._ask(
            "query_range", query=expression, start=str(start), end=str(end), step=str(step)
        )

    async def get(self, path: str, **params: str) -> Any:
        """Return the data of a response; raise `AssertionError` with the error of Prometheus."""
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{self.url}/api/v1/{path}", params=params) as response,
        ):
            answer = await response.json(content_type=None) if response.status != 503 else {}
        if not answer:
            return None
        assert answer["status"] == "success", f"{params}: {answer['error']}"
        return answer["data"]

    async def _ask(self, path: str, **params: str) -> list[dict[str, Any]]:
        data = await self.get(path, **params)
        series: list[dict[str, Any]] = [] if data is None else data["result"]
        return series
