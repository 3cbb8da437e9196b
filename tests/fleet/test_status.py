from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.records import LogKind
from gateway.fleet.status import (
    MAX_PARTITIONS,
    PartitionLoad,
    Status,
    WorkerState,
    busiest,
    quantile,
    read_status,
    write_status,
)

STATUS = Status(
    worker="web-1",
    number=7,
    state=WorkerState.READY,
    gaps={"limit": 2},
    partitions=(PartitionLoad(LogKind.USER, 3, 12.5, 4, 1),),
)


def test_a_status_is_read_as_it_was_written() -> None:
    assert read_status(b"web-1", write_status(STATUS)) == STATUS


def test_another_version_may_say_more_and_less() -> None:
    value = b'{"worker":"w","number":1,"state":"ready","a_field_to_come":[1]}'
    assert read_status(b"w", value) == Status(worker="w", number=1, state=WorkerState.READY)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"w", b""),
        (b"w", b"junk"),
        (b"w", b"[]"),
        (b"w", b'{"worker":"w"}'),
        (b"w", b'{"worker":"w","number":1,"state":1}'),
        (b"w", b'{"worker":"w","number":"1","state":"ready"}'),
        (b"w", b'{"worker":"\xff","number":1,"state":"ready"}'),
        (b"other", b'{"worker":"w","number":1,"state":"ready"}'),
        (b"w", b"[" * 100_000),
    ],
)
def test_invalid_status_or_status_of_another_worker_is_ignored(key: bytes, value: bytes) -> None:
    assert read_status(key, value) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"delivery": {"bounds": [0.1], "counts": [1]}},
        {"delivery": {"bounds": [], "counts": [1]}},
        {"delivery": {"bounds": [0.1], "counts": []}},
        {"delivery": {"bounds": [1.0, 0.1], "counts": [1, 1, 1]}},
        {"delivery": {"bounds": [0.1, 0.1], "counts": [1, 1, 1]}},
        {"delivery": {"bounds": [-0.1], "counts": [1, 1]}},
        {"delivery": {"bounds": [0.1], "counts": [1, -1]}},
        {"delivery": {"bounds": list(range(101)), "counts": [0] * 102}},
        {"delivery": {"p50": -1}},
        {"worker": ""},
        {"worker": "w" * 251},
        {"number": -1},
        {"number": 1 << 63},
        {"number": 10**40},
        {"streams": -1},
        {"cpu_share": 1e31},
        {"cpu_share": -0.5},
        {"at": -1},
        {"at": 1 << 47},
        {"gaps": {"limit": -1}},
        {"gaps": {"x" * 65: 1}},
        {"gaps": {str(number): 1 for number in range(65)}},
        {"doubts": [{"reason": "kafka", "detail": "x" * 1001}]},
        {"unreadable_last": {"topic": "", "partition": 0, "offset": 0, "reason": "empty"}},
        {"time_off": {"topic": "t", "partition": 0, "offset": 0, "seconds": 1 << 48}},
        {"short_retentions": [{"topic": "t", "kept_seconds": -1, "promised_seconds": 1}]},
        {"partitions": [{"log": "user", "partition": -1}]},
    ],
    ids=lambda fields: json.dumps(fields)[:60],
)
def test_status_that_breaks_an_invariant_is_ignored(fields: dict[str, object]) -> None:
    status = {"worker": "w", "number": 1, "state": "ready", **fields}
    assert read_status(str(status["worker"]).encode(), json.dumps(status).encode()) is None


def test_unknown_state_of_a_later_version_reads_as_not_ready() -> None:
    status = read_status(b"w", b'{"worker":"w","number":1,"state":"resting"}')
    assert status is not None
    assert status.state is WorkerState.NOT_READY


def test_status_with_half_a_character_in_the_name_is_ignored() -> None:
    assert read_status(b"w", b'{"worker":"\\ud83d","number":1,"state":"ready"}') is None


def test_histograms_of_other_bounds_are_read() -> None:
    status = read_status(
        b"w",
        b'{"worker":"w","number":1,"state":"ready","delivery":{"bounds":[0.5,1],"counts":[1,2,3]}}',
    )
    assert status is not None
    assert status.delivery.bounds == (0.5, 1.0)


@given(st.binary(max_size=40))
def test_nothing_that_stands_in_the_topic_raises(value: bytes) -> None:
    read_status(b"w", value)


def test_status_lists_lagging_partitions_first_then_the_busiest() -> None:
    loads = [
        PartitionLoad(LogKind.USER, number, float(number), lag=int(number == 0))
        for number in range(MAX_PARTITIONS + 100)
    ]
    told = busiest(loads)
    assert [load.partition for load in told] == [0, *range(101, MAX_PARTITIONS + 100)]


def test_a_status_is_bounded() -> None:
    loads = [PartitionLoad(LogKind.BROADCAST, n, 1e6 / 7, 10**6, 10**12) for n in range(10_000)]
    status = Status(worker="w" * 70, number=1, state=WorkerState.READY, partitions=busiest(loads))
    assert len(write_status(status)) < 40_000
    assert json.loads(write_status(status))["partitions"][0]["log"] == "broadcast"


@pytest.mark.parametrize(
    ("counts", "share", "value"),
    [
        ((0, 0, 0), 0.5, None),
        ((4, 0, 0), 0.5, 0.5),
        ((0, 4, 0), 0.5, 1.5),
        ((2, 2, 0), 0.5, 1.0),
        ((2, 2, 0), 1.0, 2.0),
        ((0, 0, 9), 0.99, 2.0),
        ((99, 0, 1), 0.99, 1.0),
    ],
)
def test_quantiles_are_those_of_prometheus(
    counts: tuple[int, ...], share: float, value: float | None
) -> None:
    assert quantile((1.0, 2.0), counts, share) == value
