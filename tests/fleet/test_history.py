from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from gateway.fleet.history import HISTORY_SECONDS, MAX_SAMPLES, History
from gateway.fleet.members import Member
from gateway.fleet.status import DeliveryTimes, Status, WorkerState

BOUNDS = (0.1, 1.0)


def status(worker: str = "a", **facts: object) -> Status:
    known = {"state": WorkerState.READY, "number": 1, **facts}
    return msgspec.convert({"worker": worker, **known}, Status)


def of(*statuses: Status) -> list[Member]:
    return [Member(each, 0.0) for each in statuses]


def delivered(*counts: int, bounds: tuple[float, ...] = BOUNDS) -> DeliveryTimes:
    return DeliveryTimes(bounds, counts)


def test_sample_sums_the_workers_that_are_alive() -> None:
    one = status("a", streams=3, events_per_second=1.5, lag=7, cpu_share=0.25, replays_waiting=2)
    two = status("b", streams=4, events_per_second=2.0, lag=1, cpu_share=0.5, resident_bytes=9)
    gone = status("c", state="gone", streams=50, events_per_second=9.0)
    sample = History().add_sample(of(one, two, gone), 1000)
    assert (sample.at, sample.workers, sample.streams, sample.lag) == (1000, 2, 7, 8)
    assert (sample.events_per_second, sample.cpu_share) == (3.5, 0.75)
    assert (sample.replays_waiting, sample.resident_bytes) == (2, 9)


def test_counts_are_increments_since_the_previous_sample() -> None:
    history = History()
    first = history.add_sample(of(status(gaps={"limit": 5}, closes={"slow": 2})), 0)
    assert (first.gaps, first.closes) == (0, 0), "nobody knows when those were"
    grown = status(gaps={"limit": 6, "reset": 1}, closes={"slow": 2}, rejects={"unauthorized": 4})
    second = history.add_sample(of(grown), 3000)
    assert (second.gaps, second.closes, second.rejects) == (2, 0, 4)


def test_a_worker_that_starts_again_under_its_name_takes_nothing_away() -> None:
    history = History()
    history.add_sample(of(status(gaps={"limit": 5}, delivery=delivered(9, 9, 9))), 0)
    sample = history.add_sample(of(status(gaps={"limit": 1}, delivery=delivered(1, 0, 0))), 3000)
    assert sample.gaps == 0
    assert sample.p50 is None


def test_percentiles_are_those_of_all_workers_since_the_sample_before() -> None:
    history = History()
    a, b = status("a", delivery=delivered(100, 0, 0)), status("b", delivery=delivered(0, 50, 0))
    assert history.add_sample(of(a, b), 0).p99 is None
    a = replace(a, delivery=delivered(190, 0, 0))
    b = replace(b, delivery=delivered(0, 60, 0))
    sample = history.add_sample(of(a, b), 3000)
    assert sample.p50 == pytest.approx(0.1 * 50 / 90)
    assert sample.p90 == pytest.approx(0.1)
    assert sample.p99 == pytest.approx(0.91)
    assert history.add_sample(of(a, b), 6000).p50 is None, "nothing was delivered"


def test_a_worker_with_other_buckets_is_left_out_of_the_percentiles() -> None:
    history = History()

    def fleet(few: int, many: int) -> list[Member]:
        usual = status("a", delivery=delivered(few, 0, 0))
        return of(usual, status("b", delivery=delivered(0, many, bounds=(5.0,))))

    history.add_sample(fleet(0, 0), 0)
    assert history.add_sample(fleet(2, 9), 3000).p99 == pytest.approx(0.099)


def test_the_last_fifteen_minutes_are_kept() -> None:
    history = History()
    for number in range(MAX_SAMPLES + 50):
        history.add_sample(of(status()), number * 3000)
    assert len(history.samples) == MAX_SAMPLES
    assert history.samples[-1].at - history.samples[0].at <= HISTORY_SECONDS * 1000


def test_a_trouble_is_a_late_one_as_long_as_the_history_has_seen_it_grow() -> None:
    history = History()
    history.add_sample(of(status(unreadable={"not_json": 1})), 0)
    assert not history.has_grown("a", "unreadable"), "from before"
    history.add_sample(of(status(unreadable={"not_json": 2}, partitioner_mismatches=1)), 3000)
    assert history.has_grown("a", "unreadable")
    assert history.has_grown("a", "mismatches")
    assert not history.has_grown("a", "expired")
    assert not history.has_grown("b", "unreadable")
    for number in range(2, MAX_SAMPLES + 2):
        history.add_sample(of(status(unreadable={"not_json": 2})), number * 3000)
    assert not history.has_grown("a", "unreadable"), "it is over"


def test_worker_that_is_no_longer_shown_is_forgotten() -> None:
    history = History()
    history.add_sample(of(status("a"), status("b", gaps={"expired": 1})), 0)
    history.add_sample(of(status("a"), status("b", gaps={"expired": 2})), 3000)
    assert history.has_grown("b", "expired")
    history.add_sample(of(status("a")), 6000)
    assert not history.has_grown("b", "expired")
    assert history.add_sample(of(status("a"), status("b", gaps={"expired": 9})), 9000).gaps == 0
