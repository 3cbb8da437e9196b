"""A short attack on a live worker: no 5xx, traceback or leak, and no effect on other clients."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from tests.tools.fuzz.hostile import OPS_TOKEN, Manner, approaches
from tests.tools.fuzz.wire import run

SEED = 1
INPUTS = 150
"""Inputs for each listener."""


async def test_a_worker_survives_hostile_connections(tmp_path: Path) -> None:
    outcome = await run(SEED, 0, tmp_path, INPUTS)
    assert [row.findings for row in outcome.rows] == [(), ()]
    assert [row.inputs for row in outcome.rows] == [INPUTS, INPUTS]
    assert outcome.statuses[200]
    assert outcome.statuses[400]
    assert outcome.written


def test_a_seed_reproduces_the_connections() -> None:
    once, again, other = (list(islice(approaches(seed, ops=False), 200)) for seed in (1, 1, 2))
    assert once == again != other
    assert {approach.manner for approach in once} == {*Manner}


def test_no_connection_drains_the_worker() -> None:
    for data, _ in islice(approaches(SEED, ops=True), 2000):
        assert b"/ops/drain" not in data or OPS_TOKEN.encode() not in data
