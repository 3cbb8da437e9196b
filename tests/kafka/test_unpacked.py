from __future__ import annotations

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchError, FetchResult, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from gateway.core.log import make_record
from gateway.kafka.records import to_records
from gateway.kafka.unpacked import Unpacked

PARTITION = TopicPartition("user-events", 0)


def batch(*values: bytes) -> MemoryRecords:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 20)
    for offset, value in enumerate(values):
        builder.append(offset, 1_700_000_000_000 + offset, b"alice", value, [("h", None)])
    return MemoryRecords(bytes(builder.build()))


def test_records_come_out_as_they_were_unpacked_and_become_the_cores() -> None:
    fetched = PartitionRecords(
        PARTITION, batch(b"a", b"b"), [], 0, None, None, True, READ_COMMITTED
    )
    results = Unpacked()
    results[PARTITION] = FetchResult(
        PARTITION, assignment=None, partition_records=fetched, backoff=0
    )
    assert to_records(fetched) == [
        make_record(offset, 1_700_000_000_000 + offset, b"alice", value, (("h", b""),))
        for offset, value in enumerate((b"a", b"b"))
    ]
    assert fetched.next_fetch_offset == 2


def test_an_error_passes_as_it_is() -> None:
    error = FetchError(error=ValueError("x"), backoff=0)
    results = Unpacked()
    results[PARTITION] = error
    assert results[PARTITION] is error
