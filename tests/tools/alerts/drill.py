"""A drill: cause a fault, wait for its alerts, undo it, and wait for the alerts to resolve."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.table import Column, Table

from tests.tools.alerts.faults import Fault
from tests.tools.alerts.ground import Ground

LOOK_SECONDS = 0.2
PATIENCE_SECONDS = 180.0

UNFILLED = ("<no value>", "<error", "NaN")
"""Placeholder that Prometheus renders for a missing value."""


class Outcome(NamedTuple):
    """Result of one alert; None for a transition that did not happen in time."""

    alert: str
    fault: str
    fired: float | None
    """Seconds from the start of the fault until the alert fired."""
    gone: float | None
    """Seconds from the end of the fault until the alert resolved."""
    said: tuple[str, ...]
    """Its rendered annotations."""
    beside: tuple[str, ...]
    """Alerts of other faults that fired too."""

    @property
    def is_good(self) -> bool:
        """Whether the alert fired with complete annotations and resolved."""
        said = " ".join(self.said)
        filled = bool(said) and not any(mark in said for mark in UNFILLED)
        return self.fired is not None and self.gone is not None and filled


class Watch:
    """Alerts that fired since the start, with the time of the first observation."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.now: frozenset[str] = frozenset()
        self.first: dict[str, float] = {}
        self.went: dict[str, float] = {}
        self.said: dict[str, tuple[str, ...]] = {}

    async def until(self, condition: Callable[[frozenset[str]], bool]) -> None:
        """Poll until the firing alerts satisfy the condition, or time out."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            await self._look()
            if condition(self.now):
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        firing = await self._ground.prometheus.firing()
        at = time.monotonic()
        for name in self.now - firing.keys():
            self.went[name] = at
        for name, texts in firing.items():
            self.first.setdefault(name, at)
            self.went.pop(name, None)
            self.said.setdefault(name, (texts[0]["summary"], texts[0]["description"]))
        self.now = frozenset(firing)


async def drill(ground: Ground, fault: Fault) -> list[Outcome]:
    """Return the result of each alert of the fault; start when no alert fires."""
    await Watch(ground).until(lambda firing: not firing)
    return await fire(ground, fault)


async def fire(ground: Ground, fault: Fault) -> list[Outcome]:
    """Return the results; other firing alerts are ignored."""
    wanted = frozenset(fault.alerts)
    watch = Watch(ground)
    began = time.monotonic()
    async with fault.inject(ground):
        await watch.until(lambda _: wanted <= watch.first.keys())
        ended = time.monotonic()
    await watch.until(lambda firing: not wanted & firing)
    return [
        Outcome(
            alert,
            fault.what,
            _since(began, watch.first.get(alert)),
            None if alert in watch.now else _since(ended, watch.went.get(alert)),
            watch.said.get(alert, ()),
            tuple(sorted(watch.first.keys() - wanted)),
        )
        for alert in fault.alerts
    ]


def table(outcomes: Sequence[Outcome]) -> Table:
    """Return the output of `make alerts`."""
    name = Column("alert", no_wrap=True)
    made = Table(name, "fault", "fired after", "gone after", "other alerts")
    for outcome in outcomes:
        made.add_row(
            outcome.alert.removeprefix("Gateway"),
            outcome.fault,
            _seconds(outcome.fired),
            _seconds(outcome.gone),
            " ".join(name.removeprefix("Gateway") for name in outcome.beside),
        )
    return made


def _since(begin: float, at: float | None) -> float | None:
    return None if at is None else max(0.0, at - begin)


def _seconds(value: float | None) -> str:
    return "NEVER" if value is None else f"{value:.0f} s"
