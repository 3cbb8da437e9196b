from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.reconnect import DRAIN_RATE, JITTER, SHORT_MS, drain_delay, usual_delay


def test_first_stream_gets_the_delay_of_the_settings() -> None:
    assert usual_delay(3000, 0) == 3000


@given(st.integers(0, 10_000_000), st.integers(10, 3_600_000))
def test_delay_stays_within_its_bounds(number: int, retry_ms: int) -> None:
    delay = usual_delay(retry_ms, number)
    assert retry_ms * (1 - JITTER) - 1 <= delay <= retry_ms * (1 + JITTER) + 1


@given(st.integers(0, 10_000_000))
def test_streams_of_a_crashed_worker_return_evenly(first: int) -> None:
    delays = [usual_delay(3000, number) for number in range(first, first + 1000)]
    by_tenth = [0] * 10
    for delay in delays:
        by_tenth[min(9, (delay - 1500) // 300)] += 1
    assert max(by_tenth) <= 110, "of 1,000 in ten parts of the range"
    assert len(set(delays)) > 800


def test_without_a_delay_there_is_nothing_to_spread() -> None:
    assert {usual_delay(0, number) for number in range(100)} == {0}
    assert drain_delay(0, 10_000, 0, 1.0) == 0


@pytest.mark.parametrize(
    ("streams", "seconds", "longest"),
    [
        (1000, 30, SHORT_MS[1]),
        (30 * DRAIN_RATE, 30, SHORT_MS[1]),
        (DRAIN_RATE, 0, SHORT_MS[1] + 1000),
        (10_000 * DRAIN_RATE, 0, 6000),
    ],
    ids=["slow drain", "full rate", "no drain", "too many for any delay"],
)
def test_a_drain_tells_short_delays_where_it_spreads_its_streams(
    streams: int, seconds: float, longest: int
) -> None:
    assert drain_delay(3000, streams, seconds, 0.0) == SHORT_MS[0]
    assert drain_delay(3000, streams, seconds, 1.0) == longest
