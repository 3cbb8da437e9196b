"""The schedule of faults, drawn from a seed so that a run can be repeated.

Brokers and workers have a lane each. Faults in a lane never overlap: one broker of three may be
down while writers need two replicas, and one worker of two.
"""

from __future__ import annotations

import random
from enum import StrEnum
from typing import NamedTuple

BROKERS = (1, 2, 3)
WORKERS = (0, 1)

FIRST_SECONDS = 3.0
LAST_SECONDS = 8.0
"""No fault starts in the last seconds, so that its effect is visible."""


class Kind(StrEnum):
    """A kind of fault."""

    BROKER_KILLED = "broker killed"
    BROKER_FROZEN = "broker frozen"
    BROKER_RESTARTED = "broker restarted"
    BROKERS_KILLED = "all brokers killed"
    WORKER_KILLED = "worker killed"
    WORKER_FROZEN = "worker frozen"
    WORKER_RESTARTED = "worker restarted"

    @property
    def of_broker(self) -> bool:
        """Whether the target is a broker."""
        return self.name.startswith("BROKER")

    @property
    def is_restart(self) -> bool:
        """Whether the fault is instantaneous."""
        return self.name.endswith("RESTARTED")


LONG = frozenset({Kind.BROKER_FROZEN, Kind.BROKERS_KILLED})
LONG_SHARE, LONG_SECONDS = 1 / 9, 60
"""Faults that last up to a ninth of the run, at most a minute: longer than every timeout."""


class Fault(NamedTuple):
    """One fault: `at` and `lasts` in seconds, `target` one of `BROKERS` or `WORKERS`."""

    at: float
    kind: Kind
    target: int
    lasts: float

    def __str__(self) -> str:
        lasts = f", for {self.lasts:.1f} s" if self.lasts else ""
        return f"{self.at:6.1f} s  {self.kind}: {self.target}{lasts}"


class Lane(NamedTuple):
    """The sequence of faults of brokers or of workers."""

    kinds: tuple[Kind, ...]
    targets: tuple[int, ...]
    longest: float
    pause: tuple[float, float]
    """Minimum and maximum seconds between two faults."""


LANES = (
    # A broker needs some seconds until its replicas are in sync.
    Lane(tuple(kind for kind in Kind if kind.of_broker), BROKERS, 12, (6, 10)),
    Lane(tuple(kind for kind in Kind if not kind.of_broker), WORKERS, 8, (4, 8)),
)


def schedule(seed: int, seconds: float) -> list[Fault]:
    """Return the faults of a run, in order; deterministic for its arguments.

    Each kind occurs once before any repeats.
    """
    chance = random.Random(seed)
    faults = []
    for lane in LANES:
        at = FIRST_SECONDS + chance.uniform(0, 2)
        kinds: list[Kind] = []
        while at < seconds - LAST_SECONDS:
            kinds = kinds or chance.sample(lane.kinds, len(lane.kinds))
            kind, target = kinds.pop(), chance.choice(lane.targets)
            longest = lane.longest
            if kind in LONG:
                longest = max(longest, min(seconds * LONG_SHARE, LONG_SECONDS))
            lasts = 0 if kind.is_restart else chance.uniform(longest / 2, longest)
            faults.append(Fault(round(at, 1), kind, target, round(lasts, 1)))
            at += lasts + chance.uniform(*lane.pause)
    return sorted(faults)
