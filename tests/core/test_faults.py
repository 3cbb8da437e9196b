"""An unexpected exception costs only the record or the stream that caused it."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.catch_up_state import Found
from gateway.core.event import Decoder
from gateway.core.gap import CloseReason
from gateway.core.memory import Memory
from gateway.core.records import Event, Record, Unreadable, UnreadableReason
from gateway.core.stream import Stream
from gateway.core.tail import Tail
from tests.core.consistency import assert_consistent
from tests.core.sinks import Brittle, Defect, always, fail, from_write, never
from tests.core.stage import BROADCAST_LOG, USER_LOG, Stage, stream_of, tolerant_stage


@pytest.fixture
def stage() -> Stage:
    return tolerant_stage()


def fail_to_decode(stage: Stage, monkeypatch: pytest.MonkeyPatch, value: bytes) -> None:
    original = Decoder.decode

    def decode(self: Decoder, record: Record, **options: Any) -> Event | Unreadable:
        if record.value == value:
            raise Defect
        return original(self, record, **options)

    monkeypatch.setattr(Decoder, "decode", decode)


def test_a_record_that_makes_the_decoder_raise_is_skipped_and_counted(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_to_decode(stage, monkeypatch, b"2")
    client = stage.client()
    stage.connect(client)
    stage.write(3)
    stage.worker.settle()
    assert client.received == [1, 3]
    reasons = [reason for _, _, reason in stage.worker.observer.unreadables]
    assert reasons == [UnreadableReason.INTERNAL_ERROR]
    stage.reconnect(client)
    stage.write(1)
    stage.worker.settle()
    assert client.received == [1, 3, 4], "the record is not decoded again"
    assert len(stage.worker.faults.seen) == 1


def test_a_client_that_resumes_does_not_move_the_failure_to_the_next_worker(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_to_decode(stage, monkeypatch, b"2")
    client = stage.client()
    connection = stage.connect(client)
    connection.drop(0)
    stage.write(3)
    stage.replace_worker()
    stage.worker.faults.tolerant = True
    connection = stage.connect(client)
    assert client.received == [1, 3]
    assert not stream_of(connection).closed


@pytest.mark.parametrize("at_close", [False, True])
def test_a_stream_with_a_failing_sink_is_closed_and_others_get_the_event(
    stage: Stage, *, at_close: bool
) -> None:
    sinks = [Brittle(never), Brittle(from_write(1), at_close=at_close), Brittle(never)]
    streams = [stage.open(sink) for sink in sinks]
    stage.write(1)
    stage.broadcast(1)
    stage.worker.settle()
    assert [stream.closed for stream in streams] == [False, True, False]
    assert sinks[1].ended
    assert stage.worker.observer.closes == [None]
    for sink in (sinks[0], sinks[2]):
        assert b"".join(sink.data).count(b"event: import") == 2
    assert_consistent(stage.worker)


def test_a_sink_that_fails_at_the_opening_leaves_no_stream(stage: Stage) -> None:
    stream = stage.open(Brittle(always))
    assert stream.closed
    assert not stage.worker.hub.streams
    assert_consistent(stage.worker)


def test_a_sink_that_reports_a_lost_client_and_raises_is_closed_once(stage: Stage) -> None:
    streams: list[Stream] = []

    def lose() -> bool:
        for stream in streams:
            stage.worker.hub.lost(stream, stage.world.moment)
        return bool(streams)

    streams.append(stage.open(Brittle(lose)))
    stage.write(1)
    stage.worker.settle()
    assert stage.worker.observer.closes == [None]
    assert_consistent(stage.worker)


def test_a_sink_that_fails_at_a_heartbeat_or_close_event_is_closed(stage: Stage) -> None:
    first, second = (stage.open(Brittle(from_write(1))) for _ in range(2))
    stage.worker.hub.close(first, CloseReason.CLOSED, stage.world.moment)
    stage.world.now += 1000
    stage.worker.hub.tick(stage.world.moment)
    assert first.closed
    assert second.closed
    assert stage.worker.observer.closes == [CloseReason.CLOSED, None]
    assert_consistent(stage.worker)


def test_a_failed_batch_ends_the_streams_that_would_miss_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, other = stage.client(), stage.client(user=b"c")
    stage.connect(client)
    stage.connect(other)
    stage.write(1)
    stage.worker.settle()

    with monkeypatch.context() as patched:
        patched.setattr(stage.worker.hub.arrivals._keys, "check", fail)  # noqa: SLF001
        stage.write(1)
        stage.worker.settle()
    assert not stage.worker.hub.streams
    assert_consistent(stage.worker)
    for each in (client, other):
        assert each.connection is None
        stage.connect(each)
    stage.write(1)
    stage.worker.settle()
    assert client.received == [1, 2, 3], "the client resumes from its cursor"


def test_a_failing_delivery_observer_does_not_affect_streams(stage: Stage) -> None:
    client = stage.client()
    stage.connect(client)

    stage.worker.hub.arrivals.delivered = fail
    stage.write(2)
    stage.worker.settle()
    assert client.received == [1, 2]
    assert len(stage.worker.faults.seen) == 1


def test_begin_scan_raises_for_a_second_scan_and_without_a_tail(stage: Stage) -> None:
    hub = stage.worker.hub
    hub.begin_scan(stage.feed)
    with pytest.raises(ValueError, match="one scan"):
        hub.begin_scan(stage.feed)
    hub.end_scan(stage.feed, stage.world.moment)
    stage.worker.stop_reading(stage.feed)
    with pytest.raises(ValueError, match="tail"):
        hub.begin_scan(stage.feed)
    assert not hub.scans


def test_pending_bytes_of_a_stuck_stream_that_cannot_be_written_close_it(stage: Stage) -> None:
    hub = stage.worker.hub
    sinks = [Brittle(from_write(1)) for _ in range(800)]
    streams = [stage.open(sink) for sink in sinks]
    stage.broadcast(1)
    stage.worker.poll()
    assert hub.delivering
    (stream, *_) = [each for each in streams if not each.closed]
    hub.stuck(stream, stage.world.moment)
    assert stream.closed, "its cursor is after bytes that were not written"
    stage.worker.settle()
    assert_consistent(stage.worker)


def test_eviction_that_raises_costs_no_event(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    client = stage.client()
    stage.connect(client)
    monkeypatch.setattr(Memory, "enforce", fail)
    stage.write(2)
    stage.worker.settle()
    assert client.received == [1, 2]
    assert_consistent(stage.worker)


def test_a_tail_that_cannot_be_warmed_costs_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(warm_ms=1000)
    stage.write(5)
    client = stage.client()
    stage.worker.faults.tolerant = True
    monkeypatch.setattr(Tail, "warm", fail)
    stage.connect(client)
    stage.write(1)
    stage.worker.settle()
    assert client.received == [6]
    assert stage.worker.faults.seen
    assert not stage.worker.hub.scans
    assert_consistent(stage.worker)


def test_parked_streams_advance_although_a_batch_has_failed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They wait for a record that the tail has by then."""
    feed = stage.feed
    stream = stream_of(stage.connect(stage.client(user=b"g")))
    feed.fall_behind(stream)
    feed.park(stream)
    with monkeypatch.context() as patched:
        patched.setattr(stage.worker.hub.arrivals._keys, "check", fail)  # noqa: SLF001
        stage.write(1)
        stage.worker.settle()
    assert not feed.parked
    assert not stream.closed
    assert_consistent(stage.worker)


@pytest.mark.no_cover
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32), st.floats(0.01, 0.3))
def test_random_failures_do_not_affect_other_streams(seed: int, share: float) -> None:
    """Sinks and decoding fail at random; streams with a sound sink get every decoded event."""
    random = Random(seed)
    stage = Stage(heartbeat=0.05, slow=100)
    stage.worker.open_logs()
    stage.worker.settle()
    stage.worker.faults.tolerant = True
    spoilt: set[int] = set()
    interpreter = stage.worker.hub._outbox.interpreter  # noqa: SLF001
    original = interpreter._decoder  # noqa: SLF001

    class Failing:
        def decode(self, record: Record, **options: Any) -> Event | Unreadable:
            if int(record.value or b"0") in spoilt:
                raise Defect
            return original.decode(record, **options)

    interpreter._decoder = Failing()  # type: ignore[assignment]  # noqa: SLF001
    sound = [Brittle(never) for _ in range(3)]
    for sink in sound:
        stage.open(sink)
    numbers: list[int] = []
    for _ in range(30):
        match random.randint(0, 5):
            case 0:
                stage.open(Brittle(lambda: random.random() < share))
            case 1:
                stage.world.now += 60
                stage.worker.hub.tick(stage.world.moment)
            case 2:
                stage.worker.restart(
                    stage.worker.hub.feeds[random.choice((USER_LOG, BROADCAST_LOG))]
                )
            case _:
                write = random.choice((stage.write, stage.broadcast))
                fresh = [number for number in write(random.randint(1, 4)) if number is not None]
                spoilt.update(number for number in fresh if random.random() < share)
                numbers += fresh
                stage.worker.settle()
        assert_consistent(stage.worker)
    stage.worker.settle()
    assert all(isinstance(fault, Defect) for fault in stage.worker.faults.seen)
    for sink in sound:
        assert not sink.ended
        text = b"".join(sink.data)
        for number in numbers:
            assert text.count(b"data: %d\n" % number) == (number not in spoilt)


def test_two_found_lists_are_never_equal() -> None:
    assert Found() != Found()
    assert len({Found(), Found()}) == 2
