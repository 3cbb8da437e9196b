"""What is done to brokers and workers, and when: drawn from a seed, so that a run can be repeated.

Brokers and workers have a lane each. In a lane faults never overlap: one broker of three may be
away while writers ask for two copies, and one worker of two.
"""

from __future__ import annotations

import random
from enum import StrEnum
from typing import NamedTuple

BROKERS = (1, 2, 3)
WORKERS = (0, 1)

FIRST_SECONDS = 3.0
LAST_SECONDS = 8.0
"""Nothing begins in the last seconds: what is begun should be seen."""


class Kind(StrEnum):
    """What is done."""

    BROKER_KILLED = "broker killed"
    BROKER_FROZEN = "broker frozen"
    BROKER_RESTARTED = "broker restarted"
    BROKERS_KILLED = "all brokers killed"
    WORKER_KILLED = "worker killed"
    WORKER_FROZEN = "worker frozen"
    WORKER_RESTARTED = "worker restarted"

    @property
    def of_broker(self) -> bool:
        """Whether it is done to a broker."""
        return self.name.startswith("BROKER")

    @property
    def is_restart(self) -> bool:
        """Whether it is over as soon as it is done."""
        return self.name.endswith("RESTARTED")


LONG = frozenset({Kind.BROKER_FROZEN, Kind.BROKERS_KILLED})
LONG_SHARE, LONG_SECONDS = 1 / 9, 60
"""These last for up to a ninth of the run, or a minute in a long one: beyond every timeout."""


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
    """How faults of brokers, or of workers, follow each other."""

    kinds: tuple[Kind, ...]
    targets: tuple[int, ...]
    longest: float
    pause: tuple[float, float]
    """Seconds from the end of a fault to the next one, at least and at most."""


LANES = (
    # A broker needs some seconds until its copies are in step again.
    Lane(tuple(kind for kind in Kind if kind.of_broker), BROKERS, 12, (6, 10)),
    Lane(tuple(kind for kind in Kind if not kind.of_broker), WORKERS, 8, (4, 8)),
)


def schedule(seed: int, seconds: float) -> list[Fault]:
    """Return the faults of a run, in order; the same for the same arguments.

    Each kind comes once before any comes again.
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
