from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.fleet.capacity import Bounds, Costs, Load, cpu, most, part, plan

BOUNDS, COSTS = Bounds(), Costs()

LOADS = st.builds(
    Load,
    streams=st.integers(1, 300_000),
    events=st.floats(0, 100_000),
    records=st.floats(0, 120_000),
    broadcasts=st.floats(0, 0.5),
    partitions=st.one_of(st.none(), st.integers(50, 5000)),
)


def workers(load: Load, bounds: Bounds = BOUNDS, *, sharding: bool) -> float:
    found = plan(load, bounds, COSTS, sharding=sharding)
    return float("inf") if found is None else found.workers


@pytest.mark.parametrize(
    ("load", "micros"),
    [
        (Load(2_000, 2_000, 2_000), 44.9),
        (Load(4_000, 8_000, 8_000), 21.3),
        (Load(50, 50, 50_000), 2.85 * 1000),
    ],
    ids=["delivery", "busy", "ingest"],
)
def test_cost_model_reproduces_the_measurements(load: Load, micros: float) -> None:
    """CPU for an event without heartbeats and resumes; rounds of a row differ by some 20 %."""
    quiet = COSTS._replace(idle_us=0, write_us=0, resume_us=0)
    assert cpu(load, BOUNDS, quiet) * 1e6 / load.events == pytest.approx(micros, rel=0.2)


def test_a_million_streams_are_planned() -> None:
    load = Load(1_000_000, 100_000, 100_000)
    without = plan(load, BOUNDS, COSTS, sharding=False)
    assert without is not None
    assert without.workers == 51
    assert without.records == 100_000
    assert without.cpu == pytest.approx(0.22, abs=0.01)
    sharded = plan(load, BOUNDS, COSTS, sharding=True)
    assert sharded is not None
    assert sharded.partitions == 20 * sharded.workers
    assert sharded.records < 3_000
    assert sharded.cpu < without.cpu
    assert sharded.newcomers > without.newcomers, "fewer workers take over its partitions"


def test_more_records_than_a_core_can_read_need_sharding() -> None:
    load = Load(1_000, 1_000, 600_000)
    assert plan(load, BOUNDS, COSTS, sharding=False) is None
    assert plan(load, BOUNDS, COSTS, sharding=True) is not None


def test_more_streams_in_a_partition_than_a_worker_may_have_cannot_be_sharded() -> None:
    load = Load(100_000, 100, 100, partitions=2)
    assert plan(load, BOUNDS, COSTS, sharding=True) is None
    assert plan(load, BOUNDS, COSTS, sharding=False) is not None


@settings(deadline=None, max_examples=40)
@given(LOADS, st.integers(1, 100_000), st.floats(0, 20_000), st.booleans())
def test_more_to_do_never_needs_fewer_workers(
    load: Load, streams: int, rate: float, sharding: bool
) -> None:
    before = workers(load, sharding=sharding)
    assert workers(load._replace(streams=load.streams + streams), sharding=sharding) >= before
    assert workers(load._replace(events=load.events + rate), sharding=sharding) >= before
    assert workers(load._replace(records=load.records + rate), sharding=sharding) >= before


@settings(deadline=None)
@given(LOADS, st.booleans())
def test_a_plan_keeps_its_bounds_also_without_one_of_its_workers(
    load: Load, sharding: bool
) -> None:
    found = plan(load, BOUNDS, COSTS, sharding=sharding)
    if found is None:
        return
    assert found.workers >= 2
    assert found.cpu <= BOUNDS.busy
    assert found.cpu_after_loss <= BOUNDS.strained
    assert found.streams <= BOUNDS.streams
    assert found.streams * found.workers >= load.streams
    assert found.lost == found.streams
    assert found.newcomers <= found.lost
    assert found.cpu <= found.cpu_returning <= 1.0
    assert found.all_back >= 1.5 * BOUNDS.retry + found.longest_wait


@given(st.integers(1, 5000), st.integers(1, 500))
def test_the_worker_with_most_shards_has_its_share_and_not_more_than_all(
    shards: int, count: int
) -> None:
    assert shards / count <= most(shards, count) <= shards


@given(LOADS)
def test_without_sharding_every_worker_reads_all_and_with_it_its_own(load: Load) -> None:
    assert part(load, 4, sharding=False).records == load.records
    assert part(load, 4, sharding=True).records <= load.records


def test_what_is_lost_is_spread_over_the_others() -> None:
    found = plan(Load(30_000, 1_000, 1_000), Bounds(streams=11_000), COSTS, sharding=False)
    assert found is not None
    assert found.workers == 4
    assert found.newcomers == 2_500
    assert found.memory_bytes > Bounds().tail_bytes
    assert found.files == 10_256


def test_clients_that_exceed_the_free_share_of_the_core_wait() -> None:
    load = Load(30_000, 0, 0)
    costs = COSTS._replace(resume_us=1000, idle_us=0, write_us=0)
    found = plan(load, Bounds(streams=15_000, retry=3.0), costs, sharding=False)
    assert found is not None
    assert found.newcomers == 5_000
    assert found.longest_wait == pytest.approx(5.0 / (1 - found.cpu) - 3.0)
    assert found.cpu_returning == 1.0
    calm = plan(load, Bounds(streams=15_000, retry=found.retry_needed), costs, sharding=False)
    assert calm is not None
    assert calm.longest_wait == pytest.approx(0.0, abs=1e-9)
    assert calm.cpu_returning == pytest.approx(1.0)
