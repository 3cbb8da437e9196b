"""Prometheus with the shipped rules, with seconds instead of minutes, and scrape targets."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests import prometheus
from tests.tools.alerts.rules import hurried
from tests.worker import Worker


class Prometheus(prometheus.Prometheus):
    """A Prometheus that scrapes workers every second while the `async with` block runs."""

    def __init__(self, folder: Path, workers: Iterable[Worker]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        rules = folder / "alerts.yml"
        rules.write_text(hurried())
        targets = [instance(worker) for worker in workers]
        super().__init__(targets, folder, interval=1.0, rules=[rules])

    async def firing(self) -> dict[str, list[dict[str, str]]]:
        """Return the annotations of the firing alerts, by name."""
        found: dict[str, list[dict[str, str]]] = {}
        for alert in (await self.get("alerts"))["alerts"]:
            if alert["state"] == "firing":
                found.setdefault(alert["labels"]["alertname"], []).append(alert["annotations"])
        return found

    async def value(self, query: str) -> float | None:
        """Return the value of a query with at most one series; None without a series."""
        result = await self.query(query)
        return float(result[0]["value"][1]) if result else None

    async def health(self) -> dict[str, str]:
        """Return the health of each rule: `ok` or the error."""
        groups = (await self.get("rules"))["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return {rule["name"]: rule.get("lastError") or rule["health"] for rule in rules}


def instance(worker: Worker) -> str:
    """Return the instance label of a worker."""
    return worker.ops_url.removeprefix("http://")
