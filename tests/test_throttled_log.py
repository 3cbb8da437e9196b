from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.throttled_log import PERIOD_SECONDS, ThrottledLog


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_one_of_a_kind_is_logged_with_its_facts() -> None:
    with capture_logs() as lines:
        ThrottledLog(Clock()).warn("kind", "something happened", offset=7)
    assert lines == [{"event": "something happened", "log_level": "warning", "offset": 7}]


def test_repeated_warnings_within_a_second_are_counted_in_the_next_line() -> None:
    clock = Clock()
    notices = ThrottledLog(clock)
    with capture_logs() as lines:
        for number in range(5):
            notices.warn("kind", "it happened", number=number)
        clock.now = 1.0
        notices.warn("kind", "it happened", number=5)
        clock.now = 2.0
        notices.warn("kind", "it happened", number=6)
    assert [line["number"] for line in lines] == [0, 5, 6]
    assert [line.get("not_logged_before") for line in lines] == [None, 4, None]


def test_kinds_do_not_silence_each_other() -> None:
    notices = ThrottledLog(Clock())
    with capture_logs() as lines:
        for kind in ("one", ("another", 1), ("another", 2), "one"):
            notices.warn(kind, "it happened")
    assert len(lines) == 3


@given(st.lists(st.floats(0, 5), max_size=50).map(sorted))
def test_nothing_is_logged_more_than_once_a_second_and_nothing_is_forgotten(
    times: list[float],
) -> None:
    clock = Clock()
    notices = ThrottledLog(clock)
    with capture_logs() as lines:
        for clock.now in times:
            notices.warn("kind", "it happened", at=clock.now)
        clock.now = 100.0
        notices.warn("kind", "it happened", at=clock.now)
    assert all(later["at"] - line["at"] >= PERIOD_SECONDS for line, later in pairwise(lines))
    assert sum(1 + line.get("not_logged_before", 0) for line in lines) == len(times) + 1


def test_sweep_logs_the_pending_count_after_a_second() -> None:
    clock = Clock()
    notices = ThrottledLog(clock)
    with capture_logs() as lines:
        for number in range(4):
            notices.info("kind", "it happened", number=number)
        notices.sweep()
        assert len(lines) == 1
        clock.now = 1.0
        notices.sweep()
        notices.sweep()
        clock.now = 1.5
        notices.info("kind", "it happened", number=4)
        clock.now = 2.0
        notices.sweep()
        clock.now = 9.0
        notices.sweep()
    assert [(line["number"], line.get("not_logged_before")) for line in lines] == [
        (0, None), (3, 2), (4, None)
    ]  # fmt: skip
    assert {line["log_level"] for line in lines} == {"info"}
