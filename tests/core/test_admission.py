from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.admission import Capacity, OpenStreams, Refusal, ReplayQuota
from gateway.core.gap import CloseReason
from gateway.core.request import StreamRequest
from gateway.core.stream import Sink, State, Stream
from tests.core.sinks import Discard
from tests.core.stage import USER, Stage, stream_of

SINK: Sink = Discard()


def stream(user: str = "a", address: str = "", stuck_since: float | None = None) -> Stream:
    made = Stream(StreamRequest(user.encode(), address=address), (), SINK, 0.0)
    made.stuck_since = stuck_since
    return made


def open_streams(streams: Iterable[Stream]) -> OpenStreams:
    made = OpenStreams()
    for each in streams:
        made.add(each)
    for each in sorted((s for s in made.streams if s.stuck_since is not None), key=since):
        made.stuck[each] = None
    return made


def since(stream: Stream) -> float:
    assert stream.stuck_since is not None
    return stream.stuck_since


def admit(
    crowd: OpenStreams, user: bytes, address: str, capacity: Capacity, *gone: Stream
) -> Refusal | list[Stream]:
    return crowd.admit(user, address, capacity, lambda stream: stream in gone)


@pytest.mark.parametrize(
    ("capacity", "refusal"),
    [
        (Capacity(4, 4, 4), None),
        (Capacity(4, 4, None), None),
        (Capacity(4, 3, 4), Refusal.USER),
        (Capacity(4, 4, 3), Refusal.ADDRESS),
        (Capacity(3, 4, 4), Refusal.WORKER),
        (Capacity(3, 3, 3), Refusal.USER),
    ],
)
def test_a_stream_over_a_limit_is_rejected(capacity: Capacity, refusal: Refusal | None) -> None:
    three = open_streams(stream("a", "192.0.2.1") for _ in range(3))
    assert admit(three, b"a", "192.0.2.1", capacity) == (refusal or [])


@pytest.mark.parametrize("capacity", [Capacity(9, 3), Capacity(9, 9, 3)])
def test_a_limit_of_one_user_or_address_does_not_affect_others(capacity: Capacity) -> None:
    three = open_streams(stream("a", "192.0.2.1") for _ in range(3))
    assert admit(three, b"b", "192.0.2.2", capacity) == []


def test_an_empty_address_is_not_limited() -> None:
    three = open_streams(stream("abc"[n]) for n in range(3))
    assert admit(three, b"d", "", Capacity(9, 9, 1)) == []


@pytest.mark.parametrize(
    "capacity", [Capacity(9, 3, 9), Capacity(9, 9, 3), Capacity(3, 9, 9), Capacity(3, 3, 3)]
)
def test_the_longest_stuck_stream_is_replaced(capacity: Capacity) -> None:
    well, recent, old = (stream("a", "x", at) for at in (None, 8.0, 5.0))
    assert admit(open_streams([well, recent, old]), b"a", "x", capacity) == [old]


def test_the_longest_stuck_stream_is_found_in_small_and_large_groups() -> None:
    mine = [stream("a", "", at) for at in (None, 8.0, 5.0)]
    others = [stream("b", "", float(at)) for at in range(20)]
    assert admit(open_streams([*mine, *others]), b"a", "", Capacity(99, 3)) == [mine[2]]
    assert admit(open_streams([*mine, *others[:2]]), b"b", "", Capacity(5, 9)) == [others[0]]


def test_a_stuck_stream_of_another_user_does_not_help_a_user_at_the_limit() -> None:
    crowd = [stream("a"), stream("b", "", 1.0), stream("b", "", 2.0)]
    assert admit(open_streams(crowd), b"a", "", Capacity(9, 1)) == Refusal.USER


def test_two_limits_replace_two_stuck_streams_or_one_counted_in_both() -> None:
    mine, neighbour = stream("a", "x", 1.0), stream("b", "y", 2.0)
    crowd = open_streams([mine, neighbour])
    assert admit(crowd, b"a", "y", Capacity(9, 1, 1)) == [mine, neighbour]
    assert admit(crowd, b"a", "x", Capacity(9, 1, 1)) == [mine]
    assert admit(crowd, b"a", "y", Capacity(2, 1, 1)) == [mine, neighbour]


def test_a_rejected_request_replaces_no_stream() -> None:
    stuck, well = stream("a", "x", 1.0), stream("b", "y")
    crowd = open_streams([stuck, well])
    assert admit(crowd, b"a", "y", Capacity(9, 1, 1)) == Refusal.ADDRESS
    assert list(crowd.streams) == [stuck, well]


def test_an_unanswered_stream_is_replaced_only_for_its_own_user() -> None:
    well, gone, stuck = stream("a", "x"), stream("a", "x"), stream("a", "x", 1.0)
    crowd = open_streams([well, gone])
    assert admit(crowd, b"a", "x", Capacity(9, 2), gone) == [gone]
    assert admit(crowd, b"a", "x", Capacity(9, 9, 2), gone) == Refusal.ADDRESS
    assert admit(crowd, b"b", "y", Capacity(2, 9), gone) == Refusal.WORKER
    assert admit(open_streams([well, gone, stuck]), b"a", "x", Capacity(9, 3), gone) == [stuck]


USERS = st.sampled_from("ab")
HOSTS = st.sampled_from(["", "x", "y"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), USERS, HOSTS),
        st.tuples(st.sampled_from(["go", "stick", "drain"]), st.integers(0, 9), st.none()),
    ),
    max_size=60,
)
SOME = st.integers(1, 4)


@given(STEPS, st.builds(Capacity, SOME, SOME, st.none() | SOME))
def test_limits_hold_and_no_stream_remains_after_all_are_removed(
    steps: list[tuple[str, str | int, str | None]], capacity: Capacity
) -> None:
    crowd, here = OpenStreams(), list[Stream]()
    for now, (step, which, host) in enumerate(steps):
        if step == "come":
            assert isinstance(which, str)
            assert host is not None
            verdict = admit(crowd, which.encode(), host, capacity)
            if isinstance(verdict, Refusal):
                group = {
                    Refusal.USER: [s for s in here if s.key == which.encode()],
                    Refusal.ADDRESS: [s for s in here if s.address == host],
                    Refusal.WORKER: here,
                }[verdict]
                assert group
                assert all(s.stuck_since is None for s in group)
                continue
            for given_up in verdict:
                assert given_up.stuck_since is not None
                crowd.remove(given_up)
                here.remove(given_up)
            here.append(stream(which, host))
            crowd.add(here[-1])
        elif here:
            assert isinstance(which, int)
            chosen = here[which % len(here)]
            if step == "go":
                crowd.remove(chosen)
                here.remove(chosen)
            elif step == "stick" and chosen.stuck_since is None:
                chosen.stuck_since = float(now)
                crowd.stuck[chosen] = None
            elif step == "drain" and chosen.stuck_since is not None:
                chosen.stuck_since = None
                del crowd.stuck[chosen]
        assert len(here) <= capacity.worker
        assert max(Counter(s.key for s in here).values(), default=0) <= capacity.user
        if capacity.address is not None:
            counts = Counter(s.address for s in here if s.address)
            assert max(counts.values(), default=0) <= capacity.address
    for each in here:
        crowd.remove(each)
    assert {**vars(crowd), "_opened": 0} == vars(OpenStreams())


def test_the_hub_adds_and_removes_open_streams_on_every_path() -> None:
    stage = Stage()
    hub = stage.worker.hub
    streams = [stream_of(stage.connect(stage.client())) for _ in range(4)]
    assert list(hub.open_streams.user(USER)) == streams
    hub.stuck(streams[0], stage.world.moment)
    hub.stuck(streams[1], stage.world.moment)
    hub.drained(streams[1], stage.world.moment)
    assert list(hub.open_streams.stuck) == [streams[0]]
    assert admit(hub.open_streams, USER, "", Capacity(4, 4)) == [streams[0]]

    hub.close(streams[0], CloseReason.REPLACED, stage.world.moment)
    assert streams[0].state is State.CLOSED
    assert admit(hub.open_streams, USER, "", Capacity(4, 4)) == []
    hub.lost(streams[1], stage.world.moment)
    for each in streams[2:]:
        hub.close(each, CloseReason.CLOSED, stage.world.moment)
    assert {**vars(hub.open_streams), "_opened": 0} == vars(OpenStreams())


def test_a_replay_quota_allows_a_burst_and_then_one_per_interval() -> None:
    replays = ReplayQuota(3, 10.0)
    for _ in range(3):
        assert replays.wait_seconds(b"a", 100.0) == 0
        replays.count(b"a", 100.0)
    assert replays.wait_seconds(b"a", 100.0) == 10
    assert replays.wait_seconds(b"a", 104.0) == 6
    assert replays.wait_seconds(b"b", 104.0) == 0
    assert replays.wait_seconds(b"a", 110.0) == 0
    replays.count(b"a", 110.0)
    assert replays.wait_seconds(b"a", 110.0) == 10
    assert replays.wait_seconds(b"a", 140.0) == 0


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.integers(0, 40)), max_size=80))
def test_a_replay_quota_never_exceeds_burst_plus_one_per_interval(
    tries: list[tuple[bytes, int]],
) -> None:
    replays, now, done = ReplayQuota(3, 10.0), 0.0, []
    for user, pause in tries:
        now += pause
        if replays.wait_seconds(user, now) == 0:
            replays.count(user, now)
            done.append((user, now))
    for user, begin in done:
        for who, end in done:
            if who == user and end >= begin:
                between = [at for other, at in done if other == user and begin <= at <= end]
                assert len(between) <= 3 + (end - begin) / 10


def test_users_with_a_full_replay_quota_are_dropped() -> None:
    replays = ReplayQuota(3, 10.0)
    for number in range(1000):
        replays.count(b"%d" % number, number * 10.0)
    assert len(vars(replays)["_free_at"]) < 10
