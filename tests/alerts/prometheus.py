"""Prometheus with the shipped rules, seconds for minutes, and workers to scrape."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

import aiohttp

from tests.alerts.rules import hurried
from tests.child import Child, free_port
from tests.eventually import eventually
from tests.worker import status

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

    from tests.worker import Worker

CONFIGURATION = """\
global:
  scrape_interval: 1s
  scrape_timeout: 1s
  evaluation_interval: 1s
rule_files: [alerts.yml]
scrape_configs:
  - job_name: gateway
    file_sd_configs:
      - files: [workers.json]
"""

START_SECONDS = 20.0


class Prometheus:
    """A Prometheus that scrapes workers every second, while the `async with` block runs."""

    def __init__(self, folder: Path, workers: Iterable[Worker]) -> None:
        self._folder = folder
        self._url = f"http://127.0.0.1:{free_port()}"
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))
        self._child: Child | None = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "prometheus.yml").write_text(CONFIGURATION)
        (folder / "alerts.yml").write_text(hurried())
        targets = [{"targets": [instance(worker) for worker in workers]}]
        (folder / "workers.json").write_text(json.dumps(targets))

    async def __aenter__(self) -> Self:
        """Return when each worker has been scraped."""
        self._child = Child(
            [
                "prometheus",
                f"--config.file={self._folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address={self._url.removeprefix('http://')}",
                "--log.level=warn",
            ],
            self._folder / "log",
        )
        try:
            await eventually("Prometheus is ready", self._is_ready, START_SECONDS)
            await eventually("all workers are scraped", self._all_up, START_SECONDS)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._child is not None:
            self._child.end()
        await self._http.close()

    async def firing(self) -> dict[str, list[dict[str, str]]]:
        """Return the annotations of the alerts that fire now, by name."""
        found: dict[str, list[dict[str, str]]] = {}
        for alert in (await self._ask("alerts"))["alerts"]:
            if alert["state"] == "firing":
                found.setdefault(alert["labels"]["alertname"], []).append(alert["annotations"])
        return found

    async def value(self, query: str) -> float | None:
        """Return the value of a query that has one series; None where it has none."""
        result = (await self._ask("query", query=query))["result"]
        return float(result[0]["value"][1]) if result else None

    async def health(self) -> dict[str, str]:
        """Return how the evaluation of each rule went: `ok`, or what was wrong."""
        groups = (await self._ask("rules"))["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return {rule["name"]: rule.get("lastError") or rule["health"] for rule in rules}

    async def _ask(self, what: str, **params: str) -> dict[str, Any]:
        async with self._http.get(f"{self._url}/api/v1/{what}", params=params) as response:
            answer = await response.json()
        assert answer["status"] == "success", answer
        data: dict[str, Any] = answer["data"]
        return data

    async def _is_ready(self) -> bool:
        assert self._child is not None
        assert self._child.exit_code is None, self._child.log()
        return await status(self._http, f"{self._url}/-/ready") == 200

    async def _all_up(self) -> bool:
        return await self.value("min(up)") == 1


def instance(worker: Worker) -> str:
    """Return what a worker is called as a target."""
    return worker.ops_url.removeprefix("http://")
