from __future__ import annotations

from itertools import pairwise

import pytest

from tests.tools.chaos.schedule import Kind, schedule


@pytest.mark.parametrize("seed", range(20))
def test_a_seed_reproduces_the_schedule(seed: int) -> None:
    assert schedule(seed, 180) == schedule(seed, 180)
    assert schedule(seed, 180) != schedule(seed + 1, 180)


@pytest.mark.parametrize("seed", range(20))
def test_three_minutes_have_every_kind_of_fault_without_overlap_in_a_lane(
    seed: int,
) -> None:
    faults = schedule(seed, 180)
    assert {fault.kind for fault in faults} == set(Kind)
    for of_broker in (True, False):
        lane = [fault for fault in faults if fault.kind.of_broker == of_broker]
        for one, other in pairwise(lane):
            assert one.at + one.lasts < other.at
