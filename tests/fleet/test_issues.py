from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.fleet.history import History
from gateway.fleet.issues import LAG_SAMPLES, Issue, Severity, find_issues, lag_grows
from gateway.fleet.members import Member
from gateway.fleet.status import Status

NOW = 1_700_000_000_000

SEEN = {"topic": "user-events", "partition": 3, "offset": 41}


def status(worker: str = "a", **facts: Any) -> Status:
    known = {"state": "ready", "number": 1, "version": "1.0", "at": NOW, **facts}
    return msgspec.convert({"worker": worker, **known}, Status)


def found(
    *members: Status | Member, before: Status | None = None, problem: str = ""
) -> list[Issue]:
    """Return the issues of the members; `before` is an earlier status, by default the same."""
    history = History()
    everybody = [m if isinstance(m, Member) else Member(m, 0.0) for m in members]
    history.add_sample([Member(before or everybody[0].status, 0.0)], NOW - 3000)
    history.add_sample(everybody, NOW)
    return find_issues(everybody, history, NOW, problem, "show {}".format)


def only(*members: Status | Member, **given: Any) -> Issue:
    [concern] = found(*members, **given)
    return concern


def test_healthy_fleet_raises_zero_issues() -> None:
    assert found(status("a"), status("b")) == []
    assert found(status("a", unreadable={"not_json": 5}, gaps={"expired": 3})) == [], "long ago"


def test_unready_worker_states_its_reason_and_worst_issue_is_first() -> None:
    doubt = {"reason": "kafka", "detail": "Kafka does not answer at broker:9092"}
    [worst, second] = found(status(state="not_ready", doubts=[doubt]))
    assert worst.kind == "nobody_ready"
    assert worst.severity is second.severity is Severity.CRITICAL
    assert second.what == "Not ready (kafka): Kafka does not answer at broker:9092"
    assert "resume once Kafka answers" in second.action
    strange = {"reason": "moonlight", "detail": "too bright"}
    assert only(status("b"), status(doubts=[strange])).action == "The detail names the remedy."


def test_degraded_worker_is_a_warning() -> None:
    doubt = {"reason": "topics", "detail": "other topics are served; no topic orders"}
    concern = only(status("a"), status("b", state="ready", doubts=[doubt]))
    assert concern.severity is Severity.WARNING
    assert concern.what == "Degraded (topics): other topics are served; no topic orders"


def test_starting_or_draining_worker_is_not_critical() -> None:
    starting = {"reason": "starting", "detail": "the worker has not reached Kafka yet"}
    assert found(status("b"), status(state="starting", doubts=[starting])) == []
    draining = {"reason": "draining", "detail": "the worker is being stopped"}
    concern = only(status("b"), status(state="draining", doubts=[draining], streams=1200))
    assert (concern.kind, concern.severity) == ("draining", Severity.NOTICE)
    assert "1,200 streams are left" in concern.what


@pytest.mark.parametrize(("age", "lasting"), [(12.0, "for 12 s"), (185.0, "for 3 minutes")])
def test_worker_that_disappeared_is_an_issue(age: float, lasting: str) -> None:
    concern = only(status("b"), Member(status(state="gone", streams=9), age, silent=True))
    assert (concern.kind, concern.worker) == ("gone", "a")
    assert lasting in concern.what


def test_stopped_worker_is_not_an_issue() -> None:
    assert found(status("b"), Member(status(state="gone", version="0.9", at=5), 12.0)) == []


def test_a_partitioner_that_does_not_fit_names_the_setting_that_does() -> None:
    last = {**SEEN, "reason": "crc32"}
    concern = only(status(partitioner_mismatches=2, mismatch_last=last), before=status())
    assert (concern.kind, concern.severity) == ("partitioner", Severity.CRITICAL)
    assert "user-events-3 at 41" in concern.what
    assert "GATEWAY_PARTITIONER=crc32" in concern.action


def test_records_that_cannot_be_read_come_with_the_last_ones_position() -> None:
    last = {**SEEN, "reason": "not_json"}
    concern = only(status(unreadable={"not_json": 7}, unreadable_last=last), before=status())
    assert concern.what == ("Unreadable records: 7, last in user-events-3 at 41 (not_json).")
    assert "gateway record user-events 3 41" in concern.action


def test_expired_events_of_a_resume_are_an_issue() -> None:
    concern = only(status(gaps={"expired": 1}), before=status())
    assert concern.kind == "retention"
    assert "GATEWAY_REPLAY_MAX_AGE_SECONDS" in concern.action


def test_short_retention_is_reported_once_per_topic() -> None:
    def short(topic: str) -> dict[str, Any]:
        return {"topic": topic, "kept_seconds": 60, "promised_seconds": 86_400}

    both = [short("user-events"), short("broadcast-events")]
    concern, second = found(status("a", short_retentions=both), status("b", short_retentions=both))
    assert (concern.kind, concern.worker) == ("short_retention", None)
    assert concern.what == (
        "broadcast-events keeps records for 60 s, and clients may resume after 24 hours:"
        " they miss events (gap expired)."
    )
    assert "retention.ms of the topic to 86400000" in concern.action
    assert second.what.startswith("user-events keeps")


def test_unread_partitions_are_critical_and_name_the_first() -> None:
    first = {"topic": "user-events", "partition": 3, "reason": "the partition has no leader"}
    concern = only(status("a", partitions_unread=2, unread_first=first))
    assert (concern.severity, concern.kind, concern.worker) == (Severity.CRITICAL, "unread", "a")
    assert concern.what == (
        "Does not read 2 partitions that have streams, among them user-events-3:"
        " the partition has no leader."
    )
    assert "show user-events" in concern.action


@pytest.mark.parametrize(
    ("seconds", "what", "action"),
    [
        (300, "5 minutes ahead of its clock", "Set the clock (NTP)"),
        (-90, "90 s behind its clock", "If the producer does not keep them back, set the clock"),
    ],
)
def test_wrong_record_timestamps_are_one_issue_that_names_the_worst(
    seconds: int, what: str, action: str
) -> None:
    worst = status("b", time_off={**SEEN, "seconds": seconds})
    concern = only(status("a", time_off={**SEEN, "seconds": 61}), worst)
    assert (concern.kind, concern.worker) == ("producer_clock", "b")
    assert what in concern.what
    assert "user-events-3 at 41" in concern.what
    assert concern.action.startswith(action)


@pytest.mark.parametrize("facts", [{"cpu_share": 0.97}, {"loop_delay_seconds": 0.8}])
def test_busy_worker_is_an_issue(facts: dict[str, Any]) -> None:
    assert only(status(**facts)).kind == "busy"


def test_stuck_streams_are_an_issue_above_a_tenth_of_all_streams() -> None:
    assert found(status(streams=100, streams_stuck=10)) == []
    assert only(status(streams=100, streams_stuck=11)).kind == "stuck"
    assert found(status(streams=1000, streams_stuck=90)) == []


@pytest.mark.parametrize(
    ("at", "age", "words"),
    [(NOW + 9000, 0.0, "9 s ahead of"), (NOW - 20_000, 2.0, "18 s behind")],
)
def test_wrong_clock_is_an_issue(at: int, age: float, words: str) -> None:
    assert words in only(status("b"), Member(status(at=at), age)).what


def test_late_status_or_status_without_a_time_is_not_a_clock_issue() -> None:
    assert found(Member(status(at=NOW - 9000), 8.5)) == []
    assert found(status(at=0)) == []


def test_a_worker_of_another_version_than_most_is_named() -> None:
    concern = only(status("a"), status("b", version="2.0"), status("c"))
    assert (concern.worker, concern.severity) == ("b", Severity.NOTICE)
    assert "2.0; most run 1.0" in concern.what


def test_unavailable_fleet_topic_is_an_issue() -> None:
    assert "a right is missing" in only(status(), problem="a right is missing").what


def test_growing_lag_is_an_issue_and_brief_lag_is_not() -> None:
    def after(*lags: int) -> bool:
        history = History()
        for number, lag in enumerate(lags):
            history.add_sample([Member(status(lag=lag), 0.0)], number * 3000)
        return lag_grows(list(history.samples))

    half = LAG_SAMPLES
    assert not after(*range(1000, 9000, 500)), "too short to tell"
    assert after(*[500] * half, *range(2000, 2000 + 500 * half, 500))
    assert not after(*[500] * half, *[9000] * (half - 1), 0), "it was read meanwhile"
    assert not after(*[9000] * half, *[9000] * half), "it stays"
    assert not after(*[1] * half, *[900] * half), "it is small"

    history = History()
    for number in range(2 * half):
        history.add_sample([Member(status(lag=1000 * number), 0.0)], NOW + number * 3000)
    members = [Member(status(), 0.0)]
    [concern] = find_issues(members, history, NOW, "", str)
    assert concern.what == "Lag grows: 19,000 records are not read yet."
