from __future__ import annotations

import gc
import weakref

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchError, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from gateway.core.log import make_record
from gateway.kafka.records import to_records
from gateway.kafka.unpacked import Unpacked

PARTITION = TopicPartition("user-events", 0)


def batch(*values: bytes, begin: int = 0) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 20)
    for number, value in enumerate(values):
        builder.append(number, 1_700_000_000_000 + number, b"alice", value, [("h", None)])
    data = builder.build()
    return begin.to_bytes(8, "big") + bytes(data[8:])


def fetched(data: bytes, begin: int = 0) -> PartitionRecords:
    return PartitionRecords(
        PARTITION, MemoryRecords(data), [], begin, None, None, True, READ_COMMITTED
    )


def test_records_come_out_as_they_were_unpacked_and_become_the_cores() -> None:
    records = fetched(batch(b"a", b"b"))
    results = Unpacked()
    results[PARTITION] = FetchResult(
        PARTITION, assignment=None, partition_records=records, backoff=0
    )
    (run,) = records
    assert to_records(run) == [
        make_record(offset, 1_700_000_000_000 + offset, b"alice", value, (("h", b""),))
        for offset, value in enumerate((b"a", b"b"))
    ]
    assert records.next_fetch_offset == 2


@pytest.mark.parametrize(
    ("begin", "most", "runs"),
    [
        (0, 100, [[0, 1, 2, 10, 11, 20]]),
        (0, 1, [[0], [1], [2], [10], [11], [20]]),
        (0, 4, [[0, 1, 2, 10], [11, 20]]),
        (0, 6, [[0, 1, 2, 10, 11, 20]]),
        (1, 2, [[1, 2], [10, 11], [20]]),
        (2, 3, [[2, 10, 11], [20]]),
        (5, 2, [[10, 11], [20]]),
    ],
)
def test_runs_have_as_many_records_as_was_said_and_leave_out_what_is_older(
    begin: int, most: int, runs: list[list[int]]
) -> None:
    data = batch(b"a", b"b", b"c") + batch(b"d", b"e", begin=10) + batch(b"f", begin=20)
    records = fetched(data, begin)
    results = Unpacked()
    results.most = most
    results[PARTITION] = FetchResult(
        PARTITION, assignment=None, partition_records=records, backoff=0
    )
    found = []
    for run in records:
        found.append([record.offset for record in run])
        assert records.next_fetch_offset > run[-1].offset
    assert found == runs
    assert records.next_fetch_offset == 21


def test_a_batch_whose_checksum_fails_is_an_error() -> None:
    data = bytearray(batch(b"a"))
    data[-1] ^= 1
    records = fetched(bytes(data))
    results = Unpacked()
    results[PARTITION] = FetchResult(
        PARTITION, assignment=None, partition_records=records, backoff=0
    )
    with pytest.raises(CorruptRecordException):
        next(records)


def test_an_error_passes_as_it_is() -> None:
    error = FetchError(error=ValueError("x"), backoff=0)
    results = Unpacked()
    results[PARTITION] = error
    assert results[PARTITION] is error


def test_what_is_left_unread_of_a_fetch_goes_with_it() -> None:
    records = fetched(batch(b"a", b"b"))
    results = Unpacked()
    results.most = 1
    results[PARTITION] = FetchResult(
        PARTITION, assignment=None, partition_records=records, backoff=0
    )
    next(records)
    gone = weakref.ref(records)
    gc.disable()
    try:
        del records, results[PARTITION]
        assert gone() is None
    finally:
        gc.enable()
