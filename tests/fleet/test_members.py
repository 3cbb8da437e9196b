from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.fleet.members import FORGET_SECONDS, GONE_SECONDS, MAX_MEMBERS, STATUS_SECONDS, Fleet
from gateway.fleet.status import Status, WorkerState

OWN = "own"


def status(worker: str, number: int = 1, state: WorkerState = WorkerState.READY) -> Status:
    return Status(worker=worker, number=number, state=state)


class Topic:
    """A topic in which this worker hears itself and, as long as they live, others."""

    def __init__(self, *others: str) -> None:
        self.fleet = Fleet(OWN)
        self.now = 0.0
        self.number = 0
        self.others = list(others)

    def go_on(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.number += 1
            self.fleet.set_own(status(OWN, self.number))
            for worker in (OWN, *self.others):
                self.fleet.apply(status(worker, self.number), self.now, whole=True)
            self.now += STATUS_SECONDS

    def shown(self) -> dict[str, str]:
        return {m.status.worker: str(m.status.state) for m in self.fleet.members(self.now)}


def test_a_worker_knows_itself_without_kafka() -> None:
    fleet = Fleet(OWN)
    assert fleet.members(0.0) == []
    fleet.set_own(status(OWN))
    [own] = fleet.members(1000.0)
    assert own == (status(OWN), 0.0, False)


def test_live_workers_are_shown_by_name() -> None:
    topic = Topic("b", "a")
    topic.go_on(9.0)
    assert list(topic.shown().items()) == [("a", "ready"), ("b", "ready"), (OWN, "ready")]
    ages = {member.status.worker: member.age for member in topic.fleet.members(topic.now)}
    assert ages == {"a": STATUS_SECONDS, "b": STATUS_SECONDS, OWN: 0.0}


def test_only_another_worker_that_is_ready_counts_as_ready() -> None:
    topic = Topic()
    topic.go_on(9.0)
    assert not topic.fleet.others_ready(topic.now)
    topic.fleet.apply(status("a", 1, WorkerState.DRAINING), topic.now, whole=True)
    assert not topic.fleet.others_ready(topic.now)
    topic.fleet.apply(status("b", 1), topic.now, whole=True)
    assert topic.fleet.others_ready(topic.now)
    topic.go_on(GONE_SECONDS + STATUS_SECONDS)
    assert not topic.fleet.others_ready(topic.now), "it is silent"


def test_silent_worker_is_gone_after_three_statuses_and_forgotten_after_minutes() -> None:
    topic = Topic("a", "silent")
    topic.go_on(9.0)
    topic.others.remove("silent")
    topic.go_on(GONE_SECONDS - STATUS_SECONDS)
    assert topic.shown()["silent"] == "ready"
    topic.go_on(STATUS_SECONDS)
    assert topic.shown()["silent"] == "gone"
    topic.go_on(FORGET_SECONDS - GONE_SECONDS - 2 * STATUS_SECONDS)
    assert topic.fleet.forget() == []
    assert topic.shown()["silent"] == "gone"
    topic.go_on(3 * STATUS_SECONDS)
    assert topic.fleet.forget() == ["silent"]
    assert topic.fleet.forget() == []
    assert set(topic.shown()) == {"a", OWN}


def test_returning_worker_is_shown_again() -> None:
    topic = Topic("a")
    topic.go_on(3.0)
    topic.others.remove("a")
    topic.go_on(GONE_SECONDS + STATUS_SECONDS)
    assert topic.shown()["a"] == "gone"
    topic.others.append("a")
    topic.go_on(3.0)
    assert topic.shown()["a"] == "ready"


def test_one_that_has_ended_in_order_is_gone_at_once_and_its_record_needs_no_removal() -> None:
    topic = Topic()
    topic.go_on(3.0)
    topic.fleet.apply(status("a", 5, WorkerState.GONE), topic.now, whole=True)
    topic.fleet.removed("a")
    assert topic.shown()["a"] == "gone"
    topic.go_on(GONE_SECONDS + STATUS_SECONDS)
    assert topic.shown()["a"] == "gone"
    topic.go_on(FORGET_SECONDS)
    assert topic.fleet.forget() == []
    assert set(topic.shown()) == {OWN}


def test_what_another_worker_has_removed_is_forgotten() -> None:
    topic = Topic("a")
    topic.go_on(3.0)
    topic.fleet.removed("a")
    topic.fleet.removed("nobody")
    assert set(topic.shown()) == {OWN}


def test_who_stands_in_the_topic_from_before_is_shown_when_heard_or_when_it_is_gone() -> None:
    topic = Topic()
    for worker in ("alive", "dead"):
        topic.fleet.apply(status(worker, 100), topic.now, whole=False)
    topic.fleet.set_own(status(OWN))
    assert set(topic.shown()) == {OWN}
    topic.fleet.apply(status("alive", 101), topic.now, whole=True)
    assert set(topic.shown()) == {"alive", OWN}
    topic.go_on(GONE_SECONDS + STATUS_SECONDS)
    assert topic.shown()["dead"] == "gone"


def test_rereading_the_topic_revives_only_workers_with_a_newer_status() -> None:
    topic = Topic("a", "b")
    topic.go_on(3.0)
    topic.others.clear()
    topic.go_on(GONE_SECONDS + STATUS_SECONDS)
    topic.fleet.apply(status("a", 1), topic.now, whole=False)
    topic.fleet.apply(status("b", 2), topic.now, whole=False)
    assert topic.shown() == {"a": "gone", "b": "ready", OWN: "ready"}


def test_number_of_workers_is_bounded_and_known_ones_stay_current() -> None:
    fleet = Fleet(OWN)
    for number in range(MAX_MEMBERS + 5):
        fleet.apply(status(f"w{number}"), 0.0, whole=True)
    fleet.apply(status("w0", 2, WorkerState.DRAINING), 1.0, whole=True)
    members = fleet.members(1.0)
    assert len(members) == MAX_MEMBERS
    assert members[0].status.state is WorkerState.DRAINING


def test_no_worker_is_gone_while_kafka_is_unavailable() -> None:
    topic = Topic("a")
    topic.go_on(3.0)
    topic.now += 10 * FORGET_SECONDS
    assert topic.shown() == {"a": "ready", OWN: "ready"}
    assert topic.fleet.forget() == []
    topic.go_on(3.0)
    assert topic.shown() == {"a": "ready", OWN: "ready"}


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.integers(0, 5),
            st.sampled_from(WorkerState),
            st.floats(0, 400),
            st.booleans(),
            st.booleans(),
        ),
        max_size=30,
    )
)
def test_any_history_shows_each_worker_once_and_keeps_this_worker(
    history: list[tuple[str, int, WorkerState, float, bool, bool]],
) -> None:
    fleet, now = Fleet("a"), 0.0
    fleet.set_own(status("a"))
    for worker, number, state, later, whole, removed in history:
        now += later
        fleet.apply(status(worker, number, state), now, whole=whole)
        if removed:
            fleet.removed(worker)
        over = fleet.forget()
        names = [member.status.worker for member in fleet.members(now)]
        assert names == sorted(set(names))
        assert "a" in names
        assert "a" not in over
        assert not set(over) & set(names)
