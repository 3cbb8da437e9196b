from __future__ import annotations

from gateway.kafka.pacer import RATIO, Pacer


def test_a_worker_with_time_to_spare_fetches_again_almost_at_once() -> None:
    assert Pacer(0.02).pause(0.0002) == 0.0002 * RATIO


def test_a_worker_that_is_behind_gathers_up_to_the_bound() -> None:
    assert Pacer(0.02).pause(0.5) == 0.02


def test_a_bound_of_zero_switches_pacing_off() -> None:
    assert Pacer(0.0).pause(0.5) == 0.0
