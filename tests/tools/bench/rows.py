"""The rows of the bench, by the names that `make bench ROW=…` takes, and their targets.

A target is an upper bound. Figures without one serve for comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from tests.tools.bench import (
    broadcast,
    cold,
    crowd,
    delivery,
    endurance,
    flat,
    handover,
    heartbeat,
    idle,
    ingest,
    opening,
    restart,
    resume,
    sources,
)
from tests.tools.bench.absence import Absence
from tests.tools.bench.broadcast import Broadcast
from tests.tools.bench.cold import Cold
from tests.tools.bench.crowd import Crowd
from tests.tools.bench.delivery import P50, P99, Delays, Delivery, Pace
from tests.tools.bench.endurance import Endurance
from tests.tools.bench.figures import AIOKAFKA, NCHAN, SOCKETS, Quantity
from tests.tools.bench.flat import Flat
from tests.tools.bench.ground import Row
from tests.tools.bench.handover import Handover
from tests.tools.bench.heartbeat import Heartbeat
from tests.tools.bench.idle import Idle
from tests.tools.bench.ingest import Ingest
from tests.tools.bench.opening import Opening
from tests.tools.bench.restart import Restart
from tests.tools.bench.resume import SERVED, Resume
from tests.tools.bench.rivals import Rivals
from tests.tools.bench.sources import Sources


class Goal(NamedTuple):
    """A row and its targets."""

    row: Row
    targets: Mapping[Quantity, float]


ROWS: Mapping[str, Goal] = MappingProxyType(
    {
        "broadcast": Goal(
            Broadcast(Pace(10), streams=2000),
            {broadcast.CPU.over(SOCKETS): 1.2, broadcast.CPU.over(NCHAN): 1.0},
        ),
        "busy": Goal(
            Delivery(Pace(8000), streams=4000, beside_nchan=True),
            {delivery.CPU.over(NCHAN): 0.6, P50: 10, P99: 40},
        ),
        "delivery": Goal(
            Delivery(Pace(2000), streams=2000, beside_nchan=True),
            {delivery.CPU.over(NCHAN): 0.6, P50: 6, P99: 20},
        ),
        "sources": Goal(Sources(Pace(2000), streams=2000), {sources.GROWTH: 1.1}),
        "delay": Goal(Delays(Pace(2000), streams=2000), {}),
        "trickle": Goal(Delivery(Pace(20, seconds=15), streams=2000), {P50: 5, P99: 15}),
        "idle": Goal(Idle(streams=9000), {idle.MEMORY: 11, idle.IDLE: 0.2, idle.OPENING: 130}),
        "opening": Goal(Opening(streams=1000), {opening.MOST: 130}),
        "handover": Goal(Handover(streams=1000), {handover.RATIO: 1.15}),
        "heartbeat": Goal(
            Heartbeat(streams=3000, interval=2, seconds=10), {heartbeat.CPU.over(SOCKETS): 1.2}
        ),
        "resume": Goal(
            Resume(Absence(clients=1000), beside_nchan=True), {resume.CPU: 200, SERVED: 0.4}
        ),
        "restart": Goal(Restart(Absence(clients=19_000, missed=1), spread=10), {restart.CPU: 4}),
        "rivals": Goal(Rivals(2000, 1000, Pace(1000, seconds=3), Pace(5, seconds=3)), {}),
        "cold": Goal(
            Cold(Absence(clients=1000, others=1_000_000)),
            {cold.CPU.over(AIOKAFKA): 1.3, P99: 100},
        ),
        "crowd": Goal(Crowd(clients=2000, missed=500), {crowd.LONGEST: 50, crowd.LOOP: 25}),
        "deep": Goal(
            Resume(Absence(clients=1, others=1_000_000, partitions=1)), {resume.CPU: 20_000}
        ),
        "ingest": Goal(Ingest(Pace(50_000)), {ingest.CPU: 2.2, ingest.LAG: 1}),
        "flat": Goal(
            Flat(Pace(2000, seconds=4), sizes=(500, 3000, 9000)),
            {flat.CPU_GROWTH: 1.1, flat.MEMORY_GROWTH: 1.1},
        ),
        "scale": Goal(
            Flat(Pace(2000, seconds=4), sizes=(500, 3000, 19_000), workers=2),
            {flat.CPU_GROWTH: 1.1, flat.MEMORY_GROWTH: 1.1},
        ),
        "endurance": Goal(
            Endurance(Pace(500, seconds=59), streams=2000, parts=10),
            {
                endurance.CPU_GROWTH: 1.1,
                endurance.MEMORY_GROWTH: 1.1,
                endurance.TAIL: 1,
                endurance.AGAIN: 1.1,
            },
        ),
    }
)

LONG = frozenset({"endurance"})
"""Rows that are measured only if named."""
