"""A scan that skips the records that no stream needs."""

from __future__ import annotations

import pytest

from gateway.core import memory
from gateway.core import scan as scan_
from gateway.core.event_id import parse
from gateway.core.records import (
    OffsetPosition,
)
from gateway.core.stream import State
from tests.core.scans import client_of, located_scan, records, waiting
from tests.core.stage import Stage


def stage_with_an_index(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Return a stage with a tail of some 60 records after an index of 1,600."""
    monkeypatch.setattr(memory, "INDEX_SHARE", 2)
    return Stage(broadcast=False, warm_ms=0, tail_bytes=40_000)


def test_a_scan_skips_to_the_records_of_its_streams(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scan_, "PIECE", 300)
    monkeypatch.setattr(scan_, "NEAR", 50)
    stage = stage_with_an_index(monkeypatch)
    stage.connect(stage.client(user=b"d"))
    stage.write(1)
    stage.write(400, b"b")
    stage.write(2)
    stage.write(60, b"c")
    stage.write(1)
    stage.write(640, b"c")
    stage.write(1)
    stage.write(200, b"c")
    stage.worker.settle()
    (stream,) = waiting(stage, OffsetPosition(0, 0, False))
    scan = located_scan(stage)
    read = []
    while scan.reading:
        if scan.skip():
            read.append((scan.position, scan.run))
            position = scan.position + scan.run
            scan.feed(scan.pick(records(stage, scan.position, position)), position)
    stage.worker.hub.end_scan(stage.feed, stage.world.moment)

    assert read == [(0, 1), (401, 2), (463, 1), (1104, 1)]
    assert scan.records == 5
    assert client_of(stage, stream).received == [1, 402, 403, 464, 1105]


def test_a_range_before_the_index_is_read_completely(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = stage_with_an_index(monkeypatch)
    stage.connect(stage.client(user=b"d"))
    stage.write(100, b"b")
    stage.write(1)
    stage.write(200, b"b")
    stage.worker.settle()
    stage.feed.index.discard(90)
    (stream,) = waiting(stage, OffsetPosition(50, 0, False))
    scan = located_scan(stage)
    assert scan.skip()
    assert (scan.position, scan.run) == (50, scan_.BATCH)
    scan.feed(scan.pick(records(stage, 50, 95)), 95)
    assert scan.skip()
    assert (scan.position, scan.run) == (95, 6), "near enough to read without a seek"
    scan.feed(scan.pick(records(stage, 95, 101)), 101)
    assert not scan.skip()
    assert not scan.reading
    stage.worker.hub.end_scan(stage.feed, stage.world.moment)
    assert client_of(stage, stream).received == [101]


def test_the_record_that_verifies_a_position_is_read_for_any_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = stage_with_an_index(monkeypatch)
    stage.connect(stage.client(user=b"d"))
    stage.write(1000, b"b")
    stage.worker.settle()
    at = stage.kafka.records[500].timestamp
    waiting(stage, OffsetPosition(501, at, True), OffsetPosition(0, 0, False))
    scan = located_scan(stage)
    assert scan.skip()
    assert (scan.position, scan.run) == (500, 1)
    scan.feed(scan.pick(records(stage, 500, 501)), 501)
    assert not scan.skip()
    assert not scan.reading


def test_a_scan_that_needs_no_record_reads_none(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = stage_with_an_index(monkeypatch)
    stage.connect(stage.client(user=b"d"))
    stage.write(200, b"b")
    stage.worker.settle()
    (stream,) = waiting(stage, OffsetPosition(1, 7, False))
    scan = located_scan(stage)
    assert not scan.skip()
    assert not scan.reading
    stage.worker.hub.end_scan(stage.feed, stage.world.moment)
    assert scan.summary.records == 0
    assert stream.state is State.LIVE
    assert parse(client_of(stage, stream).last_id)[0].position == stage.feed.head
