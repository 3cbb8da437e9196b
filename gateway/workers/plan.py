"""The supervisor's decisions: reloads, readiness, ownership of partitions; no I/O, no clock.

A slot is the place of one worker, numbered from 0: the successor of a worker that dies or is
replaced gets the same slot with its partitions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.config import Settings

FIRST_SECONDS = 0.5
"""Pause before a worker that died is started again for the first time."""

_FIXED = ("listen", "ops_listen", "workers")
"""Settings of the supervisor itself: sockets and slots exist for as long as its process."""


def owner(partition: int, workers: int) -> int:
    """Return the slot that reads a partition, if connections are handed over."""
    return partition % workers


def fixed_changes(former: Settings, new: Settings) -> str:
    """Return changed settings that need a restart of the supervisor; empty: none."""
    changed = [name for name in _FIXED if getattr(former, name) != getattr(new, name)]
    return ", ".join(f"GATEWAY_{name.upper()}" for name in changed)


class WorkerState(NamedTuple):
    """The supervisor's view of one worker process."""

    slot: int
    name: str
    ready: bool
    """Whether it is ready now."""
    up: bool
    """Whether it accepts connections: it was ready once, and does not drain."""
    reasons: Sequence[dict[str, str]] = ()
    """Why it is not ready, from its `/readyz`."""


def readiness(states: Iterable[WorkerState], *, stopping: bool) -> dict[str, object]:
    """Return the answer of the machine's `/readyz`: ready while one worker is ready.

    Every worker can serve every user, so one ready worker suffices. `reasons` lists the reasons of
    workers that are not ready, with the name as `worker`.
    """
    found = list(states)
    reasons: list[dict[str, str]] = [
        {**reason, "worker": state.name} for state in found for reason in state.reasons
    ]
    ready = any(state.ready for state in found) and not stopping
    if stopping:
        reasons.insert(0, {"reason": "draining", "detail": "the supervisor is being stopped"})
    elif not found:
        reasons.append({"reason": "starting", "detail": "no worker is running; see the log"})
    return {
        "ready": ready,
        "reasons": reasons,
        "workers": {state.name: {"slot": state.slot, "ready": state.ready} for state in found},
    }
