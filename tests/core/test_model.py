"""The model test: random histories of a fleet, judged by the events that each client gets.

Clients disconnect, stall, lag and change workers while partitions grow, are trimmed and recreated.
A history is determined by its seed, and a failure prints it. To run one history:

    GATEWAY_MODEL_SEED=4711 .venv/bin/pytest tests/core/test_model.py

`GATEWAY_MODEL_HISTORIES` is the number of histories of each profile.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from gateway.core import budget, delivery, hub, memory, replay_plan, runs
from gateway.core import scan as scan_
from gateway.core.gap import CloseReason, GapReason
from gateway.core.observer import Path
from gateway.core.registry import Registry
from tests.core.history import History
from tests.core.simulated_fleet import Profile

HISTORIES = int(os.environ.get("GATEWAY_MODEL_HISTORIES", "1700"))

PROFILES = {
    "calm": Profile(step=8),
    "removal": Profile(removal=True, step=20),
    "recreation": Profile(recreation=True, removal=True, short=1000, step=1),
    "growth": Profile(growth=True, removal=True, step=5),
    "renewal": Profile(renewal=True, removal=True, short=1000),
    "hostility": Profile(hostility=True, removal=True, recreation=True, piece=65_536),
    "sources": Profile(sources=True, removal=True, short=1000, step=50),
    "hostile sources": Profile(sources=True, hostility=True, removal=True, short=1000),
}


class Tally:
    """Counts over all histories, to assert that every kind of event occurred."""

    def __init__(self) -> None:
        self.histories = 0
        self.received = 0
        self.gaps: dict[GapReason, int] = {}
        self.paths: dict[Path, int] = {}
        self.closes: dict[CloseReason | None, int] = {}

    def add(self, history: History) -> None:
        self.histories += 1
        self.received += sum(len(client.received) for client in history.clients)
        for worker in history.every_worker:
            for gap in worker.observer.gaps:
                self.gaps[gap] = self.gaps.get(gap, 0) + 1
            for reason in worker.observer.closes:
                self.closes[reason] = self.closes.get(reason, 0) + 1
            for path, number in worker.observer.paths.items():
                self.paths[path] = self.paths.get(path, 0) + number


@pytest.mark.no_cover  # measuring coverage doubles the time, and small tests cover each branch
@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES.keys())
def test_every_client_gets_its_events_once_and_in_order_or_a_gap(
    profile: Profile,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    monkeypatch.setattr(runs, "PIECE", profile.piece)
    monkeypatch.setattr(replay_plan, "SHORT", profile.short)
    monkeypatch.setattr(scan_, "NEAR", 2)
    monkeypatch.setattr(scan_, "PIECE", 7)
    monkeypatch.setattr(memory, "INDEX_SHARE", 2)
    monkeypatch.setattr(budget, "STEP", profile.step)
    monkeypatch.setattr(hub, "SHARE", min(profile.step, budget.SHARE))
    monkeypatch.setattr(runs, "RUN", 4)
    if profile.step < 2000:
        monkeypatch.setattr(delivery, "MOST_RECORDS", 3)
    registry = Registry.built_in()
    tally = Tally()
    only = os.environ.get("GATEWAY_MODEL_SEED")
    seeds = range(HISTORIES) if only is None else [int(only)]
    for seed in seeds:
        history = History(seed, profile, registry)
        try:
            history.run()
        except Exception as error:
            error.add_note(f"history {seed}: set GATEWAY_MODEL_SEED={seed} to run it alone")
            raise
        tally.add(history)
    record_property("histories", tally.histories)
    record_property("received", tally.received)
    gaps = {str(reason): number for reason, number in tally.gaps.items()}
    record_property("gaps", gaps)
    print(f"{tally.histories} histories, {tally.received} events received, gaps {gaps}")
    if only is None:
        assert set(tally.paths) == set(Path)
        assert tally.gaps.keys() >= {GapReason.LIMIT}
        assert tally.closes.keys() >= {None, CloseReason.SLOW, CloseReason.DRAINING}
