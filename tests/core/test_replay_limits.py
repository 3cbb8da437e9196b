"""The replay limits, from memory and from Kafka."""

from __future__ import annotations

import pytest

from gateway.core.filter import Selection
from gateway.core.gap import GapReason
from tests.core.stage import Stage, away
from tests.core.world import DATA, OTHER


@pytest.mark.parametrize(
    ("limits", "received", "gap"),
    [
        ({"max_events": 4}, [1, 2, 3, 4], None),
        ({"max_events": 3}, [2, 3, 4], (0, 1)),
        ({"max_events": 1}, [4], (0, 3)),
        ({"max_age_ms": 40}, [1, 2, 3, 4], None),
        ({"max_age_ms": 25}, [2, 3, 4], (0, 1)),
        ({"max_age_ms": 15}, [3, 4], (0, 2)),
        ({"max_records": 4}, [1, 2, 3, 4], None),
        ({"max_records": 2}, [3, 4], (0, 2)),
        ({"max_records": 2, "max_events": 1}, [4], (0, 3)),
    ],
)
@pytest.mark.parametrize("memory", [True, False])
def test_the_limits_are_the_same_from_memory_and_from_kafka(
    limits: dict[str, int], received: list[int], gap: tuple[int, int] | None, *, memory: bool
) -> None:
    stage = Stage(warm_ms=0, **limits)
    client = stage.client()
    stage.connect(client)
    client.drop()
    if memory:
        away(stage)
    stage.write(4)
    stage.worker.poll()
    if not memory:
        stage.replace_worker()
    stage.connect(client)
    assert client.received == received
    assert [(each.reason, each.first, each.next) for each in client.gaps] == (
        [(GapReason.LIMIT, *gap)] if gap else []
    )
    stage.judged(client)


@pytest.mark.parametrize("in_kafka", [0, 1, 3], ids=["memory", "both", "Kafka"])
def test_filtered_events_do_not_count_against_the_limits(in_kafka: int) -> None:
    stage = Stage(warm_ms=0, max_events=2)
    client = stage.client(selections=[Selection(frozenset({"import"}))])
    stage.connect(client)
    client.drop().lost()
    stage.replace_worker()
    for number, (count, event_type) in enumerate([(2, DATA), (5, OTHER), (2, None)]):
        if number == in_kafka:
            away(stage)
        stage.write(count, event_type=event_type)
    stage.worker.poll()
    stage.connect(client)
    assert (client.received, client.gaps) == ([1, 2], [])


@pytest.mark.parametrize("memory", [True, False])
@pytest.mark.parametrize("late", ["at once", "evicted"])
def test_events_written_after_the_opening_do_not_count_against_the_limits(
    late: str, *, memory: bool
) -> None:
    """Ten missed events, a limit of ten, and events written after the opening: no gap."""
    stage = Stage(warm_ms=0, max_events=10, tail_bytes=1500 if late == "evicted" else 1 << 30)
    client = stage.client()
    stage.connect(client)
    client.drop().lost()
    if memory:
        away(stage)
    stage.write(10)
    stage.broadcast(10)
    stage.worker.poll()
    if not memory:
        stage.replace_worker()
        away(stage)
    client.connect(stage.worker)
    stage.write(12)
    stage.broadcast(12)
    stage.worker.poll()
    stage.worker.settle()
    assert client.gaps == []
    assert sorted(client.received) == list(range(1, 45))
    stage.judged(client)


@pytest.mark.parametrize("place", ["memory", "memory, unverified", "Kafka"])
def test_missed_events_count_against_the_limits(place: str) -> None:
    stage = Stage(warm_ms=0, max_events=10)
    client = stage.client()
    stage.connect(client)
    stage.write(1)
    stage.worker.poll()
    client.drop().lost()
    if place == "memory, unverified":
        stage.replace_worker()
    if place != "Kafka":
        away(stage)
    stage.write(11)
    stage.worker.poll()
    if place == "Kafka":
        stage.replace_worker()
        away(stage)
    client.connect(stage.worker)
    stage.write(5)
    stage.worker.poll()
    stage.worker.settle()
    assert [(gap.reason, gap.first, gap.next) for gap in client.gaps] == [(GapReason.LIMIT, 1, 2)]
    assert client.received == [1, *range(3, 18)]
    stage.judged(client)


@pytest.mark.parametrize("memory", [True, False])
def test_an_old_event_after_a_young_one_is_within_the_maximum_age(*, memory: bool) -> None:
    stage = Stage(warm_ms=0, max_age_ms=40)
    client = stage.client()
    stage.connect(client)
    client.drop().lost()
    if memory:
        away(stage)
    stage.write(1, b"c")
    stage.world.now -= 40
    stage.write(1)
    stage.world.now += 60
    stage.worker.poll()
    if not memory:
        stage.replace_worker()
    stage.connect(client)
    assert (client.received, client.gaps) == ([2], [])
    stage.judged(client)
