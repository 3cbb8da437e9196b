from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from gateway.core import delivery
from gateway.core.event import Decoder
from gateway.core.event_id import parse
from gateway.core.gap import CloseReason, GapReason
from gateway.core.observer import Path
from gateway.core.records import Event, Moment, Record, TopicPartition, Unreadable
from gateway.core.stream import State
from tests.core.consistency import assert_consistent
from tests.core.sinks import Keep
from tests.core.stage import USER_LOG, Stage, stream_of

# The first bytes.


def test_a_stream_begins_with_retry_and_an_id_in_one_block() -> None:
    stage = Stage()
    written: list[bytes] = []
    client = stage.client()
    client.receive = lambda parser, data, epoch: written.append(data)  # type: ignore[method-assign]
    stage.connect(client)
    lines = written[0].split(b"\n")
    assert lines[0] == b"retry: 3000"
    assert lines[1].startswith(b"id: 1u")
    assert lines[2:] == [b"", b""], (
        "one block: a blank line before the id would clear the client's id"
    )


def test_a_malformed_id_gets_a_gap_before_any_valid_id() -> None:
    stage = Stage()
    client = stage.client()
    client.last_id = "garbage"
    connection = stage.connect(client, cut=60)  # into the gap's id
    connection.lost()
    assert client.last_id == "garbage"
    stage.connect(client)
    assert stage.worker.observer.gaps == [GapReason.INVALID] * 2
    assert parse(client.last_id)
    stage.write()
    stage.worker.settle()
    stage.judged(client)
    assert len(client.received) == 1


# Dispatch.


def test_a_batch_of_several_partitions_is_one_write() -> None:
    stage = Stage()
    client = stage.client()
    connection = stage.connect(client)
    before = connection.writes
    stage.write(5)
    stage.broadcast(2)
    stage.worker.poll()
    assert connection.writes == before + 1
    assert len(client.received) == 7
    assert stage.worker.observer.paths == {Path.LIVE: 7}
    assert stream_of(connection).sent == 7


def test_broadcasts_are_written_in_pieces_and_a_stalled_client_gets_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "PIECE", 1000)
    stage = Stage()
    reading, stalled = stage.client(), stage.client(user=b"b")
    connections = [stage.connect(client) for client in (reading, stalled)]
    before = [connection.writes for connection in connections]
    connections[1].stall(0)
    stage.write()
    stage.broadcast(30)
    stage.worker.poll()
    assert connections[0].writes > before[0] + 3
    assert connections[1].writes == before[1] + 1
    assert stream_of(connections[1]).state is State.STUCK
    assert len(reading.received) == 31
    connections[1].drain()
    assert stalled.received == reading.received[1:]
    for size in range(8):  # the last piece ends at different sizes
        stage.broadcast(size)
        stage.worker.poll()
    assert len(stalled.received) == 30 + sum(range(8))


def test_a_record_is_decoded_once_for_all_streams_and_never_without_streams(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoded: list[int] = []
    decode = Decoder.decode

    def counted(self: Decoder, record: Record, **options: Any) -> Event | Unreadable:
        decoded.append(record.offset)
        return decode(self, record, **options)

    monkeypatch.setattr(Decoder, "decode", counted)
    stage = Stage()
    clients = [stage.client() for _ in range(5)]
    for client in clients:
        stage.connect(client)
    stage.write()
    stage.write(3, b"c")
    stage.worker.poll()
    assert decoded == [0]
    assert [client.received for client in clients] == [[1]] * 5


def test_an_unreadable_record_does_not_affect_its_neighbours() -> None:
    stage = Stage()
    client = stage.client()
    stage.connect(client)
    stage.write(1)
    stage.write(1, event_type=None)
    stage.write(1)
    stage.worker.poll()
    assert client.received == [1, 2]
    assert len(stage.worker.observer.unreadables) == 1


def test_a_batch_of_a_partition_that_is_not_read_any_more_is_dropped() -> None:
    stage = Stage()
    client = stage.client()
    stage.connect(client)
    client.drop().lost()
    stage.worker.sweep()
    hub = stage.worker.hub
    (number,) = stage.write()
    assert number is not None
    record = stage.world.events[number][1].record()
    hub.dispatch({USER_LOG: [record]}, stage.world.moment)
    assert stage.feed.tail is None
    assert hub.memory.tails == 0


def test_all_tails_stay_within_the_shared_budget() -> None:
    stage = Stage(partitions=2, tail_bytes=4000)
    stage.connect(stage.client())
    stage.connect(stage.client(user=b"b"))
    hub = stage.worker.hub
    for _ in range(30):
        stage.write(2)
        stage.broadcast(1)
        stage.worker.poll()
        assert hub.memory.tails <= 4000
        assert_consistent(stage.worker)
    assert hub.memory.tails > 3000, "the budget is used"


def test_a_warmed_tail_stays_within_the_budget() -> None:
    stage = Stage(tail_bytes=1200)
    stage.write(20)
    stage.broadcast(20)
    stage.connect(stage.client())
    assert 0 < stage.worker.hub.memory.tails <= 1200


def test_an_event_is_framed_once_for_all_chunked_streams() -> None:
    stage = Stage()
    stage.worker.open_logs()
    sinks = [Keep(chunked=chunked) for chunked in (True, False, True)]
    for sink in sinks:
        stage.open(sink)
        sink.data.clear()
    stage.broadcast(1)
    stage.write(1)
    stage.worker.poll()

    one, plain, other = (sink.data for sink in sinks)
    assert [len(sink.data) for sink in sinks] == [1, 1, 1], "one batch is one write"
    assert one == other
    for number in (1, 2):
        assert b"data: %d\n\n\r\n" % number in one[0]
        assert b"data: %d\n\n" % number in plain[0]
    assert b"\r\n" not in plain[0]
    stage.broadcast(1)
    stage.worker.poll()
    assert sinks[0].data[1] is sinks[2].data[1]


# Partitions that start and stop.


def test_streams_opened_while_kafka_is_unavailable_get_later_events() -> None:
    stage = Stage()
    stage.write(3)
    stage.world.now += 1
    client = stage.client()
    client.connect(stage.worker, kafka=False)
    assert client.last_id, "the first write has an id"
    stage.write(3)
    stage.worker.settle()
    assert client.received == [4, 5, 6]
    stage.judged(client)


def test_open_streams_get_a_reset_when_their_partition_is_recreated() -> None:
    stage = Stage()
    live, stuck = stage.client(), stage.client()
    stage.connect(live)
    connection = stage.connect(stuck)
    stage.write(5)
    stage.worker.poll()
    connection.stall(0)
    stage.write(5)
    stage.worker.poll()
    for client in (live, stuck):
        client.before_recreation(USER_LOG, stage.worker, 1)
    stage.world.recreate(USER_LOG)
    stage.worker.restart(stage.feed)
    stage.write(2)
    stage.worker.settle()
    connection.drain()
    stage.worker.settle()
    for client in (live, stuck):
        assert [gap.reason for gap in client.gaps] == [GapReason.RESET]
        stage.judged(client)
        assert client.received == list(range(1, 13))


def test_closing_a_stream_that_waits_for_a_scan_removes_it() -> None:
    stage = Stage(warm_ms=0)
    stage.write(5)
    client = stage.client(since=stage.world.now - 20)
    connection = client.connect(stage.worker)
    assert stream_of(connection) in stage.feed.waiting
    stage.worker.hub.close(stream_of(connection), CloseReason.DRAINING, stage.world.moment, 4000)
    assert not stage.feed.waiting
    assert_consistent(stage.worker)
    stage.worker.settle()


def test_chunked_and_plain_streams_get_the_same_events_and_ids() -> None:
    stage = Stage()
    stage.worker.open_logs()
    sinks = [Keep(chunked=chunked) for chunked in (True, False)]
    for sink in sinks:
        stage.open(sink)
        sink.data.clear()
    for _ in range(2):
        stage.write(3)
        stage.broadcast(2)
        stage.worker.poll()
    in_chunks, plain = (b"".join(sink.data) for sink in sinks)
    assert plain.count(b"id: ") == 10
    assert unchunked(in_chunks) == plain


def unchunked(data: bytes) -> bytes:
    """Return the content of the chunks (RFC 9112, §7.1)."""
    content = b""
    while data:
        size, _, rest = data.partition(b"\r\n")
        end = int(size, 16)
        assert rest[end : end + 2] == b"\r\n"
        content, data = content + rest[:end], rest[end + 2 :]
    return content


def test_delivered_is_called_after_each_batch() -> None:
    stage = Stage()
    stage.connect(stage.client())
    seen: list[tuple[Any, int]] = []

    def record_batches(batches: Mapping[TopicPartition, Sequence[Record]], moment: Moment) -> None:
        seen.extend((record.event, record.offset) for record in batches.get(USER_LOG, ()))

    stage.worker.hub.arrivals.delivered = record_batches
    stage.write(2)
    stage.worker.settle()
    assert len(seen) == 2
    assert all(isinstance(event, Event) for event, _ in seen), "decoded for the stream"
