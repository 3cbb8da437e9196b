from __future__ import annotations

import pytest

from gateway.core.records import TIMESTAMP_LIMIT, OffsetPosition, TopicPartition
from gateway.fleet.clock_skew import AHEAD_MS, BEHIND_MS, HELD_CHECKS, RecordTimes
from gateway.fleet.status import TimeOff

NOW = 1_700_000_000_000
LATER = NOW + 3000
LOG = TopicPartition("user-events", 3)
OTHER = TopicPartition("user-events", 4)


def head(offset: int, timestamp: int) -> dict[TopicPartition, OffsetPosition]:
    return {LOG: OffsetPosition(offset, timestamp, True)}


def found(timestamp: int, *, lag: int = 0) -> TimeOff | None:
    """Return the result for one record that was read between two checks."""
    times = RecordTimes()
    assert times.check(head(40, NOW), {LOG: lag}, NOW) is None
    return times.check(head(41, timestamp), {}, LATER)


@pytest.mark.parametrize("timestamp", [LATER + AHEAD_MS, NOW - BEHIND_MS, LATER])
def test_small_clock_differences_are_ignored(timestamp: int) -> None:
    assert found(timestamp) is None


def test_a_record_from_the_future_has_a_clock_that_is_ahead() -> None:
    assert found(LATER + 300_000) == TimeOff("user-events", 3, 40, 300)
    assert found(LATER + 300_000, lag=7) == TimeOff("user-events", 3, 40, 300)


def test_a_record_that_was_just_written_and_is_old_has_one_that_is_behind() -> None:
    assert found(LATER - 300_000) == TimeOff("user-events", 3, 40, -300)
    assert found(LATER - 300_000, lag=7) is None, "it may have waited for us"


def test_what_was_written_while_kafka_was_away_tells_nothing() -> None:
    times = RecordTimes()
    times.check(head(40, NOW), None, NOW)
    assert times.check(head(41, LATER - 300_000), {}, LATER) is None


@pytest.mark.parametrize("timestamp", [-1, 0, TIMESTAMP_LIMIT])
def test_missing_timestamp_is_ignored(timestamp: int) -> None:
    assert found(timestamp) is None


def test_only_records_read_since_the_last_check_are_checked() -> None:
    times = RecordTimes()
    old = head(40, NOW - 300_000)
    assert times.check(old, {}, NOW) is None, "who knows when it was written"
    assert times.check(old, {}, LATER) is None
    assert times.check(head(5, NOW - 300_000), {}, LATER) is None, "the topic was made anew"


def test_a_log_that_is_read_for_the_first_time_may_hold_a_record_from_the_future() -> None:
    times = RecordTimes()
    future = head(40, NOW + 300_000)
    assert times.check(future, {}, NOW) == TimeOff("user-events", 3, 39, 300)
    for _ in range(HELD_CHECKS):
        times.check(future, {}, NOW)
    assert times.check(future, {}, NOW) is None, "it is said once"


def test_worst_timestamp_is_reported_for_several_checks_while_its_log_is_read() -> None:
    times = RecordTimes()
    times.check({LOG: OffsetPosition(1, NOW, True), OTHER: OffsetPosition(1, NOW, True)}, {}, NOW)
    both = {
        LOG: OffsetPosition(2, NOW + 60_000, True),
        OTHER: OffsetPosition(9, NOW - 90_000, True),
    }
    worst = TimeOff("user-events", 4, 8, -90)
    assert times.check(both, {}, NOW) == worst
    well = {LOG: OffsetPosition(3, NOW, True), OTHER: OffsetPosition(10, NOW, True)}
    for _ in range(HELD_CHECKS):
        assert times.check(well, {}, NOW) == worst
    assert times.check(well, {}, NOW) is None

    times.check({LOG: OffsetPosition(4, NOW + 60_000, True)}, {}, NOW)
    assert times.check({}, {}, NOW) is None, "nobody reads it now"
