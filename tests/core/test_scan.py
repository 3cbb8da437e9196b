"""One scan, step by step."""

from __future__ import annotations

import pytest

from gateway.core import scan as scan_
from gateway.core.event_id import CursorEntry, encode_entry, parse
from gateway.core.filter import Selection
from gateway.core.gap import Gap, GapReason
from gateway.core.limits import Extent
from gateway.core.observer import Summary
from gateway.core.records import (
    LogKind,
    Moment,
    OffsetPosition,
    make_record,
)
from tests.core.consistency import assert_consistent
from tests.core.scans import client_of, located_scan, records, waiting
from tests.core.stage import EXPIRED, USER, USER_LOG, Stage, log_of_ten, told
from tests.core.world import OTHER


def test_waiting_streams_share_one_scan_from_the_earliest_position() -> None:
    stage = log_of_ten(warm_ms=0)
    streams = waiting(
        stage, OffsetPosition(17, 1_000_070, True), OffsetPosition(12, 1_000_020, True)
    )
    scan = stage.worker.hub.begin_scan(stage.feed)
    assert not stage.feed.waiting
    scan.begin(Extent(10, 20, 10, 0))
    assert scan.locate({}) == []
    assert scan.position == 11, "the previous record verifies the position"
    assert scan.skip(), "without an index all records are read"
    assert (scan.position, scan.run) == (11, scan_.BATCH)
    scan.feed(scan.pick(records(stage, 11, 20)), 20)
    assert not scan.reading
    stage.worker.hub.end_scan(stage.feed, stage.world.moment)
    assert [client_of(stage, stream).received for stream in streams] == [
        [8, 9, 10],
        [3, 4, 5, 6, 7, 8, 9, 10],
    ]
    numbers = tuple(stream.number for stream in streams)
    assert scan.summary == Summary(USER_LOG, numbers, records=9, events=3 + 8)


@pytest.mark.parametrize("steps", ["nothing", "begin", "locate", "half"])
def test_an_interrupted_scan_loses_no_event(steps: str) -> None:
    """Kafka may fail at any time; a stream keeps its position and requests another scan."""
    stage = log_of_ten(warm_ms=0)
    (stream,) = waiting(stage, OffsetPosition(12, 1_000_020, True))
    scan = stage.worker.hub.begin_scan(stage.feed)
    if steps != "nothing":
        scan.begin(Extent(10, 20, 10, 0))
    if steps in ("locate", "half"):
        scan.locate({})
    if steps == "half":
        scan.feed(records(stage, 11, 15), 15)
        stage.worker.hub.advance(scan.harvest(), stage.world.moment)
    stage.worker.hub.end_scan(stage.feed, stage.world.moment)
    assert stream in stage.feed.waiting
    stage.worker.settle()
    assert client_of(stage, stream).received == [3, 4, 5, 6, 7, 8, 9, 10]


def test_records_read_twice_are_found_once() -> None:
    stage = log_of_ten(warm_ms=0)
    (stream,) = waiting(stage, OffsetPosition(12, 1_000_020, True))
    scan = located_scan(stage)
    scan.feed(records(stage, 11, 16), 16)
    scan.feed(records(stage, 13, 20), 20)
    scan.feed(records(stage, 11, 13), 13)
    assert not scan.reading
    stage.worker.hub.end_scan(stage.feed, stage.world.moment)
    assert client_of(stage, stream).received == [3, 4, 5, 6, 7, 8, 9, 10]


def test_an_unverified_position_is_verified_by_the_next_scan() -> None:
    stage = log_of_ten(warm_ms=0)
    (stream,) = waiting(stage, OffsetPosition(15, 1_000_001, True))
    located_scan(stage)
    stage.worker.hub.end_scan(stage.feed, stage.world.moment)  # before the previous record was read
    stage.worker.settle()
    assert told(client_of(stage, stream)) == [(GapReason.RESET, None, 10)]


def test_found_events_are_sent_once_no_limit_can_exclude_them() -> None:
    stage = log_of_ten(warm_ms=0, max_events=5)
    (stream,) = waiting(stage, OffsetPosition(15, 1_000_050, True))
    hub, moment = stage.worker.hub, stage.world.moment
    scan = located_scan(stage)
    scan.feed(records(stage, 14, 15), 15)
    assert scan.harvest() == [], "no event is found yet"
    scan.feed(records(stage, 15, 17), 17)
    assert scan.harvest() == [stream]
    hub.advance([stream], moment)
    assert client_of(stage, stream).received == [6, 7]
    position = parse(stream.id().decode())[0].position
    assert position == OffsetPosition(17, 1_000_070, True)
    scan.feed(records(stage, 17, 20), 20)
    hub.end_scan(stage.feed, moment)
    assert client_of(stage, stream).received == [6, 7, 8, 9, 10]
    assert_consistent(stage.worker)


def test_events_that_a_limit_may_still_exclude_are_kept() -> None:
    stage = log_of_ten(warm_ms=0, max_events=2)
    (stream,) = waiting(stage, OffsetPosition(12, 1_000_020, True))
    scan = located_scan(stage)
    scan.feed(records(stage, 11, 19), 19)
    assert scan.harvest() == [], "one more event may follow, and the limit is two"
    scan.feed(records(stage, 19, 20), 20)
    stage.worker.hub.end_scan(stage.feed, stage.world.moment)
    assert client_of(stage, stream).received == [9, 10]


def test_a_removed_stream_does_not_count_in_a_scan() -> None:
    stage = log_of_ten(warm_ms=0)
    positions = [OffsetPosition(12, 1_000_020, True), OffsetPosition(15, 1_000_050, True)]
    one, other = waiting(stage, *positions)
    hub, moment = stage.worker.hub, stage.world.moment
    scan = located_scan(stage)
    hub.lost(one, moment)
    scan.feed(records(stage, 11, 16), 16)
    assert scan.reading
    hub.lost(other, moment)
    assert not scan.reading, "no stream is left"
    hub.end_scan(stage.feed, moment)
    assert client_of(stage, one).received == []


def test_a_stream_that_leaves_a_scan_does_not_affect_others_of_its_key() -> None:
    stage = log_of_ten(warm_ms=0)
    stage.write(1, event_type=OTHER)
    position = OffsetPosition(12, 1_000_020, True)
    (filtered,) = waiting(stage, position, selections=[Selection(frozenset({"ai"}))])
    (other,) = waiting(stage, position)
    hub, moment = stage.worker.hub, stage.world.moment
    scan = located_scan(stage)
    hub.lost(filtered, moment)
    scan.feed(records(stage, 11, 21), 21)
    hub.end_scan(stage.feed, moment)
    assert client_of(stage, filtered).received == []
    assert client_of(stage, other).received == list(range(3, 12))


def test_streams_that_wait_when_their_partition_is_read_again_get_a_scan() -> None:
    stage = log_of_ten(warm_ms=0)
    (stream,) = waiting(stage, OffsetPosition(12, 1_000_020, True))
    stage.worker.restart(stage.feed)
    stage.worker.activate()
    assert stage.feed in stage.worker.woken
    stage.worker.settle()
    assert client_of(stage, stream).received == [3, 4, 5, 6, 7, 8, 9, 10]


@pytest.mark.parametrize("when", ["begun", "located", "read"])
def test_scan_of_a_restarted_partition_is_discarded(when: str) -> None:
    stage = log_of_ten(warm_ms=0)
    (stream,) = waiting(stage, OffsetPosition(12, 1_000_020, True))
    hub = stage.worker.hub
    scan = hub.begin_scan(stage.feed)
    if when != "begun":
        scan.begin(Extent(10, 20, 10, 0))
    if when == "read":
        scan.locate({})
    stage.worker.restart(stage.feed)
    stage.worker.activate()
    if when == "begun":
        scan.begin(Extent(10, 20, 10, 0))
    if when == "read":
        scan.feed(records(stage, 11, 15), 15)
        assert scan.harvest() == []
    else:
        assert scan.locate({}) == []
    assert not scan.reading
    hub.end_scan(stage.feed, stage.world.moment)
    assert_consistent(stage.worker)
    stage.worker.settle()
    assert client_of(stage, stream).received == [3, 4, 5, 6, 7, 8, 9, 10]


def test_a_scan_ends_at_the_tails_base_when_the_offsets_are_located() -> None:
    stage = log_of_ten(warm_ms=0, tail_bytes=1000)
    (stream,) = waiting(stage, OffsetPosition(15, 1_000_050, True))
    scan = stage.worker.hub.begin_scan(stage.feed)
    scan.begin(Extent(10, 20, 10, 0))
    stage.write(6)
    stage.worker.poll()  # the tail evicts the first of these records
    scan.locate({})
    assert stage.feed.tail is not None
    assert scan.end == stage.feed.tail.base.offset > 20
    scan.feed(records(stage, 14, 30), 30)
    stage.worker.hub.end_scan(stage.feed, stage.world.moment)
    assert client_of(stage, stream).received == list(range(6, 17))


def test_a_tail_that_evicts_during_a_scan_requires_another_scan() -> None:
    stage = log_of_ten(warm_ms=0, tail_bytes=1000)
    (stream,) = waiting(stage, OffsetPosition(15, 1_000_050, True))
    scan = located_scan(stage)
    stage.write(6)
    stage.worker.poll()
    scan.feed(records(stage, 14, 30), 26)
    stage.worker.hub.end_scan(stage.feed, stage.world.moment)
    assert stream in stage.feed.waiting
    stage.worker.settle()
    assert client_of(stage, stream).received == list(range(6, 17))


def test_a_tail_is_warmed_up_to_its_room() -> None:
    stage = log_of_ten()
    stage.connect(stage.client(user=b"c"))
    tail = stage.feed.tail
    assert tail is not None
    size = make_record(0, 0, USER, b"10", (("event_type", b"import.progress"),)).size
    assert len(tail) == 2000 // size
    assert tail.base == OffsetPosition(20 - len(tail), 0, False)


def test_a_tail_that_has_evicted_records_is_not_warmed() -> None:
    stage = log_of_ten(tail_bytes=1000)
    stage.worker.open_logs()
    scan = stage.worker.hub.begin_scan(stage.feed)
    scan.begin(Extent(10, 20, 10, 0))
    scan.warm(15, 2000)
    scan.locate({})
    stage.write(6)
    stage.worker.poll()
    scan.feed(records(stage, 15, 20), 20)
    stage.worker.hub.end_scan(stage.feed, stage.world.moment)
    assert stage.feed.tail is not None
    assert stage.feed.tail.base.offset > 20


@pytest.mark.parametrize("timestamp", [-1, 1 << 60])
def test_a_timestamp_out_of_range_is_omitted_from_the_id(timestamp: int) -> None:
    """A record with an invalid timestamp, followed by a hole up to the tail's base."""
    stage = Stage(broadcast=False, warm_ms=0)
    stage.write(2)
    written = stage.kafka.records[1] = stage.kafka.records[1]._replace(timestamp=timestamp)
    stage.kafka.end = 5
    (stream,) = waiting(stage, OffsetPosition(0, 7, False))
    scan = located_scan(stage)
    scan.feed([stage.kafka.records[0].record(), written.record()], 4)
    stage.worker.hub.advance(scan.harvest(), stage.world.moment)
    assert client_of(stage, stream).received == [1, 2]
    assert parse(client_of(stage, stream).last_id)[0].position == OffsetPosition(4, 0, False)


def test_a_filtered_stream_catches_up_by_scan() -> None:
    stage = log_of_ten(warm_ms=0)
    stage.write(2, event_type=OTHER)
    stage.write(1, event_type=None)
    (stream,) = waiting(
        stage, OffsetPosition(12, 1_000_020, True), selections=[Selection(frozenset({"ai"}))]
    )
    stage.worker.wake(stage.feed)
    stage.worker.settle()
    assert client_of(stage, stream).received == [11, 12]
    assert stream.catching_up == {}


def test_all_events_beyond_the_limits_are_skipped() -> None:
    """Old events in a short range are all skipped, not only the first."""
    stage = log_of_ten(warm_ms=0, max_age_ms=35)
    (stream,) = waiting(stage, OffsetPosition(12, 1_000_020, True))
    stage.worker.wake(stage.feed)
    stage.worker.settle()
    assert client_of(stage, stream).received == [7, 8, 9, 10]


def test_a_gap_is_sent_after_the_transport_drains() -> None:
    stage = log_of_ten(warm_ms=0)
    (stream,) = waiting(stage, OffsetPosition(3, 1, True))
    client = client_of(stage, stream)
    connection = client.connection
    assert connection is not None
    connection.stall(0)
    stage.worker.hub.stuck(stream, stage.world.moment)
    connection.stuck = True
    stage.worker.wake(stage.feed)
    stage.worker.settle()
    assert client.gaps == []
    assert isinstance(stream.catching_up[stage.feed].backlog[0], Gap)
    connection.drain()
    assert told(client) == EXPIRED
    assert client.received == list(range(1, 11))


def test_a_pending_reset_keeps_the_clients_own_entry() -> None:
    stage = log_of_ten(warm_ms=0)
    position = OffsetPosition(15, 1_000_001, True)
    (stream,) = waiting(stage, position)
    scan = located_scan(stage)
    scan.feed(records(stage, 14, 15), 15)
    assert stream in stage.feed.waiting, (
        "its offset by time is unknown, so it waits for the next scan"
    )
    entry = encode_entry(*CursorEntry(LogKind.USER, b"tagA", 0, position))
    assert stream.catching_up[stage.feed].reset_entry == entry
    assert scan.reading is False
    stage.worker.hub.end_scan(stage.feed, Moment(0.0, 0))
    assert stage.feed in stage.worker.woken
