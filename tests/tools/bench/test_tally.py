from __future__ import annotations

import pytest

from tests.tools.bench.tally import NS_PER_BUCKET, Tally, Void


def tally(*buckets: int) -> Tally:
    made = Tally()
    for bucket in buckets:
        made.event(bucket * NS_PER_BUCKET)
    return made


@pytest.mark.parametrize(
    ("part", "latency"), [(0.01, 0.1), (0.5, 0.5), (0.51, 0.6), (0.9, 0.9), (0.99, 1.0)]
)
def test_a_quantile_bounds_the_latency_of_its_part(part: float, latency: float) -> None:
    assert tally(*range(10)).latency_ms(part) == pytest.approx(latency)


def test_tallies_add_up() -> None:
    total = tally(1, 2)
    total.fault("lost", 2)
    other = tally(2, 30)
    other.size = 7
    other.fault("lost")
    total.add(other)
    assert total == Tally(4, 7, {1: 1, 2: 2, 30: 1}, {"lost": 3})


@pytest.mark.parametrize("written", [1, 3])
def test_a_wrong_number_of_events_is_void(written: int) -> None:
    tally(1, 2).verify(2)
    with pytest.raises(Void, match=f"2 events of {written} arrived"):
        tally(1, 2).verify(written)


def test_a_void_tally_reports_its_faults() -> None:
    faulty = tally(1)
    faulty.fault("repeated", 3)
    with pytest.raises(Void, match="1 events of 1 arrived, 3 repeated"):
        faulty.verify(1)
