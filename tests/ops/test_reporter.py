from __future__ import annotations

import os
import resource
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.config import Settings
from gateway.core.gap import CloseReason, GapReason
from gateway.core.observer import Path
from gateway.core.records import (
    LogKind,
    Moment,
    OffsetPosition,
    TopicPartition,
    UnreadableReason,
    make_record,
)
from gateway.core.registry import Registry
from gateway.core.source import Topic
from gateway.fleet.status import WorkerState
from gateway.ops.reporter import ResidentMemory, StatusReporter, replays_waiting, rfc3339
from gateway.parts import Parts
from gateway.readiness import NotReadyReason
from tests.http.served import Served

TOPIC = Topic("user-events", LogKind.USER, b"tagA", 4)
LOG = TopicPartition("user-events", 2)


def at(seconds: float) -> Moment:
    return Moment(seconds, 1_700_000_000_000 + int(seconds * 1000))


def make_reporter(served: Served, lags: dict[TopicPartition, int] | None = None) -> StatusReporter:
    unread = SimpleNamespace(reasons=dict)
    kafka: Any = SimpleNamespace(
        lags=lambda: lags or {}, retention=SimpleNamespace(short=()), unread=unread
    )
    registry = Registry.built_in()
    parts = Parts(
        Settings.model_construct(), registry, served.hub, served.metrics, served.readiness, kafka
    )
    return StatusReporter("web-1", at(0), parts, lambda: 9)


def test_counts_are_since_the_start_and_rates_since_the_status_before() -> None:
    served = Served()
    reporter = make_reporter(served, {LOG: 40})
    feed = served.hub.feed(LOG, TOPIC)
    served.hub.activate(feed, OffsetPosition(100, 0, False), at(1))
    reporter.status(at(10), "http://ops")

    assert feed.tail is not None
    feed.tail.head = OffsetPosition(150, 0, False)
    served.metrics.read({LOG: [make_record(n, 0, b"a", b"{}") for n in range(60)]})
    served.metrics.sent(Path.LIVE, [(at(15).wall - 30, 20)], at(15))
    served.metrics.gap(GapReason.LIMIT)
    served.metrics.rejected("unauthorized")
    served.metrics.unreadable(LOG, 3, UnreadableReason.NOT_JSON)
    reporter.loop_late(0.2)
    reporter.loop_late(0.1)
    status = reporter.status(at(15), "http://ops")

    assert (status.number, status.worker, status.connections) == (2, "web-1", 9)
    assert status.since == "2023-11-14T22:13:20.000Z"
    assert (status.records, status.records_per_second) == (60, 12.0)
    assert (status.events[Path.LIVE], status.events_per_second) == (20, 4.0)
    assert status.gaps[GapReason.LIMIT] == 1
    assert status.closes == dict.fromkeys(CloseReason, 0)
    assert status.rejects["unauthorized"] == 1
    assert status.unreadable[UnreadableReason.NOT_JSON] == 1
    assert status.loop_delay_seconds == 0.2
    assert status.lag == 40
    assert status.delivery.p50 == pytest.approx(0.035)
    load = next(load for load in status.partitions if load.partition == 2)
    assert (load.partition, load.records_per_second, load.lag) == (2, 10.0, 40)

    quiet = reporter.status(at(20), "http://ops")
    assert quiet.events[Path.LIVE] == 20
    assert quiet.events_per_second == quiet.loop_delay_seconds == 0
    assert quiet.delivery.p50 is None
    assert sum(quiet.delivery.counts) == 20


def test_rate_of_a_recreated_log_is_not_negative() -> None:
    served = Served()
    reporter = make_reporter(served)
    feed = served.hub.feed(LOG, TOPIC)
    served.hub.activate(feed, OffsetPosition(100, 0, False), at(1))
    reporter.status(at(10), "")
    assert feed.tail is not None
    feed.tail.head = OffsetPosition(5, 0, False)
    loads = reporter.status(at(20), "").partitions
    load = next(load for load in loads if load.partition == 2)
    assert load.records_per_second == 0


def test_times_of_records_are_held_against_the_clock_and_while_kafka_answers_only() -> None:
    served = Served()
    reporter = make_reporter(served)
    feed = served.hub.feed(LOG, TOPIC)
    served.hub.activate(feed, OffsetPosition(100, 0, False), at(1))
    assert feed.tail is not None
    for offset, away, expected in ((101, True, None), (102, False, None), (103, False, -300)):
        if away:
            served.readiness.set_reason(NotReadyReason.KAFKA, "it does not answer")
        feed.tail.head = OffsetPosition(offset, at(-300).wall, True)
        seen = reporter.status(at(0), "").time_off
        assert (seen and seen.seconds) == expected
        served.readiness.clear(NotReadyReason.KAFKA)


def test_the_state_follows_readiness_and_a_change_is_noticed() -> None:
    served = Served()
    readiness = served.readiness
    for doubt in list(readiness.reasons):
        readiness.clear(doubt)
    reporter = make_reporter(served)
    assert reporter.has_changed()
    assert reporter.status(at(1), "").state is WorkerState.READY
    assert not reporter.has_changed()
    readiness.set_reason(NotReadyReason.KAFKA, "x" * 10_000)
    assert reporter.has_changed()
    status = reporter.status(at(2), "")
    assert status.state is WorkerState.NOT_READY
    assert [(doubt.reason, len(doubt.detail)) for doubt in status.doubts] == [("kafka", 500)]
    readiness.set_reason(NotReadyReason.DRAINING, "it is being stopped")
    assert reporter.status(at(3), "").state is WorkerState.DRAINING
    assert reporter.status(at(4), "", gone=True).state is WorkerState.GONE


def test_memory_and_waiting_streams_are_reported() -> None:
    assert ResidentMemory().bytes() > 1_000_000
    assert replays_waiting(Served().hub) == 0
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("wall", "text"),
    [
        (-5, "1970-01-01T00:00:00.000Z"),
        (0, "1970-01-01T00:00:00.000Z"),
        (10**30, "6429-10-17T02:45:55.326Z"),
    ],
)
def test_times_out_of_range_are_shown_as_the_nearest_bound(wall: int, text: str) -> None:
    assert rfc3339(wall) == text


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_memory_is_known_without_a_free_descriptor() -> None:
    memory = ResidentMemory()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            os.open("/proc/self/statm", os.O_RDONLY)
        assert memory.bytes() > 1_000_000
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
