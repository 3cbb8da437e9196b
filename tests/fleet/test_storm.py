from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.fleet.storm import BACKLOG, PATIENCE_SECONDS, STEP_SECONDS, needed_spread, simulate

OPEN = 0.0005

NEWCOMERS = st.integers(0, 30_000)
BUSY = st.floats(0, 0.9)
SPREAD = st.floats(0, 60)


def test_zero_clients_cause_an_empty_storm() -> None:
    storm = simulate(0, 0.5, OPEN, 3.0, 0.0)
    assert storm == (0, 0.0, 0, 3.0, 0.5)
    assert needed_spread(0, 0.5, OPEN, 3.0) == 0


def test_all_at_once_wait_for_as_long_as_the_work_takes() -> None:
    storm = simulate(2000, 0.5, OPEN, 3.0, 0.0)
    assert storm.per_second == 2000
    assert storm.refused == 0
    assert storm.longest_wait == pytest.approx(2.0, abs=2 * STEP_SECONDS)
    assert storm.over_after == pytest.approx(5.0, abs=2 * STEP_SECONDS)
    assert storm.peak_cpu == pytest.approx(1.0)


def test_load_within_capacity_is_served_without_delay() -> None:
    storm = simulate(5000, 0.5, OPEN, 3.0, 10.0)
    assert storm.per_second == 500
    assert storm.longest_wait <= STEP_SECONDS
    assert storm.peak_cpu == pytest.approx(0.75, abs=0.01)
    assert storm.over_after == pytest.approx(13.0, abs=2 * STEP_SECONDS)


def test_client_rejected_by_full_backlog_retries_later() -> None:
    storm = simulate(BACKLOG + 1000, 0.0, OPEN, 0.0, 0.0)
    assert storm.refused == 1000
    assert storm.longest_wait > 1.0


@settings(deadline=None, max_examples=40)
@given(NEWCOMERS, BUSY, SPREAD)
def test_no_storm_beats_arithmetic(newcomers: int, busy: float, spread: float) -> None:
    storm = simulate(newcomers, busy, OPEN, 3.0, spread)
    work = newcomers * OPEN / (1 - busy)
    assert storm.over_after >= 3.0 + work - 3 * STEP_SECONDS
    assert busy <= storm.peak_cpu <= 1.0
    assert storm.per_second <= newcomers
    assert storm == simulate(newcomers, busy, OPEN, 3.0, spread)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.floats(0, 0.8))
def test_the_spread_is_enough_and_a_second_less_is_not(newcomers: int, busy: float) -> None:
    spread = needed_spread(newcomers, busy, OPEN, 3.0)
    storm = simulate(newcomers, busy, OPEN, 3.0, spread)
    assert storm.refused == 0
    assert storm.longest_wait <= PATIENCE_SECONDS
    if spread >= 1:
        less = simulate(newcomers, busy, OPEN, 3.0, spread - 1)
        assert less.refused or less.longest_wait > PATIENCE_SECONDS


def test_a_storm_that_nothing_helps_ends_the_search() -> None:
    assert needed_spread(10_000_000, 0.99, OPEN, 3.0) >= 3600
