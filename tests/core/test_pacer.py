from __future__ import annotations

from gateway.kafka.pacer import RATIO, Pacer


def test_a_worker_below_capacity_pauses_briefly() -> None:
    assert Pacer(0.02).pause(0.0002) == 0.0002 * RATIO


def test_a_busy_worker_pauses_up_to_the_bound() -> None:
    assert Pacer(0.02).pause(0.5) == 0.02


def test_a_bound_of_zero_disables_pacing() -> None:
    assert Pacer(0.0).pause(0.5) == 0.0


def test_a_late_event_loop_lengthens_the_pause() -> None:
    assert Pacer(1).pause(0.001, late=0.002) == 0.003 * RATIO
