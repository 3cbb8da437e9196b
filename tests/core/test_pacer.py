from __future__ import annotations

import pytest

from gateway.core.pacer import BUSY, Pacer


def test_a_record_after_a_rest_is_followed_by_next_to_no_pause() -> None:
    pacer = Pacer(0.02)
    assert pacer.pause(1, 100.0) <= 0.02 / 100
    assert pacer.pause(1, 200.0) <= 0.02 / 100, "and so is the next one, after another rest"


@pytest.mark.parametrize("rate", [BUSY, 4 * BUSY])
def test_a_busy_log_is_paced_by_the_whole_delay(rate: float) -> None:
    pacer = Pacer(0.02)
    now = 0.0
    for _ in range(500):
        now += 0.01
        pause = pacer.pause(int(rate * 0.01), now)
    assert pause == pytest.approx(0.02, rel=0.05)


def test_the_pause_grows_with_the_rate_up_to_the_bound() -> None:
    pauses = []
    for records in (1, 2, 4, 8, 1000):
        pacer = Pacer(0.02)
        for step in range(200):
            pause = pacer.pause(records, step * 0.05)
        pauses.append(pause)
    assert pauses == sorted(pauses)
    assert pauses[-1] == 0.02
    assert pauses[0] < 0.002


def test_a_burst_is_forgotten_after_a_rest() -> None:
    pacer = Pacer(0.02)
    assert pacer.pause(10_000, 0.0) == 0.02
    assert pacer.pause(0, 10.0) == 0.0


def test_a_delay_of_zero_never_pauses() -> None:
    assert Pacer(0.0).pause(10_000, 1.0) == 0.0
