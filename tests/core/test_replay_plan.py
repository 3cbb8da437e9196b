from __future__ import annotations

import pytest

from gateway.core import replay_plan
from gateway.core.gap import GapReason
from gateway.core.records import (
    OffsetPosition,
    Position,
    TimePosition,
)
from tests.core.stage import (
    EXPIRED,
    USER_LOG,
    Stage,
    Told,
    log_of_ten,
    stream_of,
    told,
    user_id,
)

TEN = [(GapReason.RESET, None, 10)]


@pytest.mark.parametrize("warm_ms", [0, 50, 60_000])
@pytest.mark.parametrize(
    ("position", "first", "gaps"),
    [
        (OffsetPosition(10, 1, True), 1, []),
        (OffsetPosition(11, 1_000_010, True), 2, []),
        (OffsetPosition(15, 1_000_050, True), 6, []),
        (OffsetPosition(15, 77, False), 6, []),
        (OffsetPosition(20, 1_000_100, True), 11, []),
        (OffsetPosition(3, 1, True), 1, EXPIRED),
        (OffsetPosition(21, 1_000_055, True), 6, [(GapReason.RESET, None, 15)]),
        (OffsetPosition(1 << 62, 0, False), 1, TEN),
        (OffsetPosition(15, 1_000_051, True), 6, [(GapReason.RESET, None, 15)]),
        (OffsetPosition(20, 1_000_101, True), 11, [(GapReason.RESET, None, 20)]),
        (OffsetPosition(11, (1 << 47) - 1, True), 11, [(GapReason.RESET, None, 20)]),
        (TimePosition(1_000_040), 4, []),
        (TimePosition(0), 1, []),
        (TimePosition((1 << 47) - 1), 11, []),
    ],
)
def test_an_id_leads_to_this_position_and_gap(
    position: Position, first: int, gaps: list[Told], warm_ms: int
) -> None:
    stage = log_of_ten(warm_ms=warm_ms)
    client = stage.client()
    client.rogue = True
    client.last_id = user_id(position)
    stage.connect(client)
    stage.write()
    stage.worker.settle()
    assert client.received == list(range(first, 12))
    assert told(client) == gaps


@pytest.mark.parametrize(("tag", "partition"), [(b"tagB", 0), (b"tagA", 1)])
def test_an_entry_of_another_partition_is_kept_until_its_reset_is_sent(
    tag: bytes, partition: int
) -> None:
    stage = log_of_ten()
    client = stage.client()
    client.rogue = True
    last_id = client.last_id = user_id(
        OffsetPosition(3, 1_000_040, True), tag=tag, partition=partition
    )
    connection = client.connect(stage.worker)
    assert client.last_id == last_id, "a client that disconnects now must resume with it"
    assert stream_of(connection).id() == last_id.encode()
    stage.worker.settle()
    assert told(client) == [(GapReason.RESET, None, 13)]
    assert client.received == [4, 5, 6, 7, 8, 9, 10]


@pytest.mark.parametrize(
    ("limits", "position", "received", "gaps"),
    [
        ({"max_events": 3}, OffsetPosition(12, 1_000_020, True), 3, [(GapReason.LIMIT, 12, 17)]),
        ({"max_events": 8}, OffsetPosition(12, 1_000_020, True), 8, []),
        ({"max_events": 2}, OffsetPosition(3, 1, True), 2, [*EXPIRED, (GapReason.LIMIT, 10, 18)]),
        ({"max_events": 2}, OffsetPosition(30, 1, True), 2, [*TEN, (GapReason.LIMIT, 10, 18)]),
        ({"max_events": 3}, TimePosition(1_000_030), 3, [(GapReason.LIMIT, 12, 17)]),
        ({"max_records": 4}, OffsetPosition(12, 1_000_020, True), 4, [(GapReason.LIMIT, 12, 16)]),
        ({"max_records": 8}, OffsetPosition(12, 1_000_020, True), 8, []),
        ({"max_age_ms": 35}, OffsetPosition(12, 1_000_020, True), 4, [(GapReason.LIMIT, 12, 16)]),
        ({"max_age_ms": 35}, TimePosition(1_000_030), 4, [(GapReason.LIMIT, 12, 16)]),
        ({"max_age_ms": 6}, OffsetPosition(12, 1_000_020, True), 1, [(GapReason.LIMIT, 12, 19)]),
    ],
)
@pytest.mark.parametrize("short", [0, 3, 1000])
def test_the_newest_part_within_the_limits_is_replayed(
    limits: dict[str, int],
    position: Position,
    received: int,
    gaps: list[Told],
    short: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replay_plan, "SHORT", short)
    stage = log_of_ten(warm_ms=0, **limits)
    client = stage.client()
    client.rogue = True
    client.last_id = user_id(position)
    stage.connect(client)
    assert client.received == list(range(11 - received, 11))
    assert told(client) == gaps


def test_an_empty_short_range_gets_no_gap() -> None:
    stage = Stage(broadcast=False, max_records=5, max_age_ms=50, warm_ms=0)
    stage.write(3, b"c")
    stage.write(1, b"c", hole=500)
    stage.world.now += 10_000
    client = stage.client()
    client.last_id = user_id(OffsetPosition(0, 1, False))
    client.expects = {USER_LOG: (0, 0)}
    stage.connect(client)
    assert client.gaps == []


def test_a_long_hole_after_a_young_cursor_gets_no_gap() -> None:
    """As after an aborted transaction: the first young record is thousands of offsets later."""
    stage = Stage(broadcast=False, warm_ms=0)
    stage.write(2)
    client = stage.client()
    client.last_id = user_id(OffsetPosition(2, stage.world.now, True))
    client.expects = {USER_LOG: (0, 2)}
    stage.write(hole=5000)
    stage.connect(client)
    assert (client.received, client.gaps) == ([3], [])


# Records without a timestamp: message format 0, or a producer that sends -1.


def forget_times(stage: Stage, first: int) -> None:
    """Let the records from an offset on have no timestamp."""
    for records in (stage.kafka.records, stage.kafka.all):
        records[:] = [
            each._replace(timestamp=-1) if each.offset >= first else each for each in records
        ]


@pytest.mark.parametrize("memory_serves", [False, True])
def test_records_without_a_timestamp_are_replayed_whatever_their_age(
    *, memory_serves: bool
) -> None:
    stage = Stage(broadcast=False, warm_ms=0, max_age_ms=1000)
    stage.connect(stage.client(user=b"c"))
    client = stage.client()
    connection = stage.connect(client)
    begin = client.last_id
    stage.write(1)
    forget_times(stage, 0)
    stage.worker.settle()
    after_first = client.last_id
    connection.drop(0)
    connection.lost()
    stage.write(2)
    forget_times(stage, 0)
    for event_id, received in ((begin, [1, 2, 3]), (after_first, [2, 3])):
        if not memory_serves:
            stage.replace_worker()
        stage.worker.settle()
        stage.world.now += 5000
        again = stage.client()
        again.rogue = True
        again.last_id = event_id
        stage.connect(again)
        assert (again.received, again.gaps) == (received, [])


def test_a_position_after_a_record_without_a_timestamp_is_exact(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replay_plan, "SHORT", 5)
    stage = Stage(broadcast=False, warm_ms=0, max_age_ms=1000)
    client = stage.client()
    connection = stage.connect(client)
    stage.write(1)
    forget_times(stage, 0)
    stage.worker.settle()
    assert client.received == [1]
    connection.drop(0)
    connection.lost()
    stage.write(20, b"c")
    stage.write(2)
    forget_times(stage, 0)
    stage.replace_worker()
    stage.world.now += 5000
    stage.connect(client)
    assert (client.received, client.gaps) == ([1, 22, 23], [])


@pytest.mark.parametrize("memory_serves", [False, True])
def test_the_other_limits_and_older_events_apply_to_records_without_a_timestamp(
    *, memory_serves: bool
) -> None:
    stage = Stage(broadcast=False, warm_ms=0, max_age_ms=1000, max_events=3)
    stage.connect(stage.client(user=b"c"))
    stage.worker.settle()
    for kept, timed in ((3, 0), (2, 3)):
        client = stage.client()
        stage.connect(client)
        client.drop().lost()
        first = stage.kafka.end
        stage.write(5)
        forget_times(stage, first + timed)
        stage.worker.settle()
        if not memory_serves:
            stage.replace_worker()
        stage.world.now += 5000
        stage.connect(client)
        assert len(client.received) == kept
        assert [gap.reason for gap in client.gaps] == [GapReason.LIMIT]
