from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from structlog.testing import capture_logs

from gateway import clock
from gateway.config import load_settings
from gateway.core.edge import Edge, HubOptions
from gateway.core.event import Decoder
from gateway.core.filter import EventFilter, Selection
from gateway.core.interpreter import Interpreter
from gateway.core.limits import Limits
from gateway.core.observer import Summary
from gateway.core.records import (
    LogKind,
    Moment,
    OffsetPosition,
    Record,
    TopicPartition,
    make_record,
)
from gateway.core.registry import Registry
from gateway.core.request import StreamRequest
from gateway.core.source import Topic
from gateway.core.stream import Stream
from gateway.errors import SettingsError
from gateway.http.caller import Caller
from gateway.http.transport.connection import Connection
from gateway.ops.pseudonyms import Pseudonyms
from gateway.ops.spans import Spans, Told
from gateway.ops.stream_log import StreamLog
from gateway.ops.traced import MAX_DELIVERIES, TracedHub, TracedMetrics
from gateway.ops.tracing import start_tracing
from gateway.supervise import Part, Supervisor
from gateway.throttled_log import ThrottledLog
from tests.eventually import DEADLINE
from tests.records import TYPE, envelope

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
USER_LOG, NEWS_LOG = TopicPartition("user-events", 0), TopicPartition("news", 0)
NAMES = Pseudonyms(b"k" * 32)


class Stage:
    """A traced hub with one user log and one broadcast log; spans are kept."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.spans = Spans(provider, NAMES)
        notices = ThrottledLog(lambda: 0.0)
        self.metrics = TracedMetrics(self.spans, notices, StreamLog(Pseudonyms(None)), "murmur2")
        supervisor = Supervisor(self.metrics)
        contain = partial(supervisor.contain, Part.STREAM)
        self.hub = TracedHub(
            self.spans,
            supervisor,
            HubOptions(
                Limits(3_600_000, 1_000, 1_000), lambda _: 0, 1 << 20, 3000, heartbeat=30, slow=30
            ),
            Interpreter(Decoder(Registry.built_in()), self.metrics, contain),
            Edge(self.metrics, lambda _feed: None, lambda: None, contain),
        )
        kinds = {USER_LOG: LogKind.USER, NEWS_LOG: LogKind.BROADCAST}
        self.feeds = tuple(
            self.hub.feed(log, Topic(log.topic, kind, b"tagA", 1)) for log, kind in kinds.items()
        )
        for feed in self.feeds:
            self.hub.activate(feed, OffsetPosition(0, 0, False), clock.now())
        self.offset = 0

    def open(self, traceparent: str = "", **asked: Any) -> Stream:
        caller = Caller("192.0.2.1", "r-1", None, traceparent, 1_000)
        sink = Connection(self.hub, b"", caller, chunked=True, patience=30)
        return self.hub.open(StreamRequest(b"alice", **asked), self.feeds, sink, (), clock.now())

    def dispatch(
        self, *headers: tuple[str, bytes], user: bytes = b"alice", moment: Moment | None = None
    ) -> Record:
        moment = moment or clock.now()
        value = envelope(user.decode())
        record = make_record(self.offset, moment.wall, user, value, headers)
        self.offset += 1
        self.hub.dispatch({USER_LOG: [record]}, moment)
        return record

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]


@pytest.fixture
def stage() -> Stage:
    return Stage()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    assert span.attributes is not None
    return dict(span.attributes)


def test_opening_request_continues_the_trace_of_its_client(stage: Stage) -> None:
    stage.open(PARENT)
    (span,) = stage.named("GET /api/v1/events")
    assert span.parent is not None
    assert span.context is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, SPAN)
    assert span.kind is SpanKind.SERVER
    assert span.start_time == 1_000
    assert attributes(span).items() >= {
        "http.request.method": "GET", "http.route": "/api/v1/events",
        "http.response.status_code": 200, "client.address": "192.0.2.1",
        "gateway.request_id": "r-1", "gateway.stream.state": "live",
        "gateway.user": NAMES.name(b"alice"),
    }.items()  # fmt: skip
    assert stage.named("replay") == [], "nothing was missed"


def test_a_client_without_a_trace_begins_one(stage: Stage) -> None:
    stage.open()
    (span,) = stage.named("GET /api/v1/events")
    assert span.parent is None


def test_unsampled_client_trace_creates_no_span(stage: Stage) -> None:
    stream = stage.open(PARENT[:-1] + "0")
    stage.metrics.replayed(0.5, Summary(USER_LOG, (stream.number,), 900, 3))
    assert stage.exporter.get_finished_spans() == ()


def test_what_memory_has_for_a_client_is_a_replay_below_its_request(stage: Stage) -> None:
    stage.open()
    for _ in range(3):
        stage.dispatch()
    stage.exporter.clear()
    # From the log's beginning, which its tail still has.
    feed = stage.feeds[0]
    cursor = [mark_of(stage, OffsetPosition(0, 0, False))]
    stage.open(PARENT, cursor=cursor)
    (replay,), (request,) = stage.named("replay"), stage.named("GET /api/v1/events")
    assert feed.tail is not None
    assert replay.parent == request.context
    assert attributes(replay) == {"gateway.replay.from": "memory", "gateway.replay.events": 3}


def mark_of(stage: Stage, place: OffsetPosition) -> Any:
    from gateway.core.event_id import CursorEntry

    return CursorEntry(LogKind.USER, b"tagA", 0, place)


def test_scan_creates_a_replay_span_for_each_stream_still_waiting(stage: Stage) -> None:
    first, gone, last = stage.open(PARENT), stage.open(), stage.open()
    requests = [span.context for span in stage.named("GET /api/v1/events")]
    stage.hub.lost(gone, clock.now())
    numbers = (first.number, gone.number, last.number)
    stage.metrics.replayed(0.5, Summary(USER_LOG, numbers, 900, 3))
    (span,) = stage.named("replay")
    assert span.parent == requests[0]
    assert [link.context for link in span.links] == [requests[2]]
    assert attributes(span).items() >= {
        "messaging.system": "kafka", "messaging.destination.name": "user-events",
        "messaging.destination.partition.id": "0", "gateway.replay.from": "kafka",
        "gateway.replay.streams": 3, "gateway.replay.records": 900, "gateway.replay.events": 3,
    }.items()  # fmt: skip
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.end_time - span.start_time == 500_000_000


def test_scan_without_waiting_streams_creates_no_span(stage: Stage) -> None:
    stage.metrics.replayed(0.5, Summary(USER_LOG, (), 900, 0))
    assert stage.exporter.get_finished_spans() == ()


def test_a_delivery_is_linked_to_its_producer(stage: Stage) -> None:
    stage.open()
    stage.open()
    stage.dispatch(("other", b"x"), ("traceparent", PARENT.encode()))
    (span,) = stage.named("deliver user-events")
    (link,) = span.links
    assert span.parent is None
    assert span.kind is SpanKind.CONSUMER
    assert f"{link.context.trace_id:032x}-{link.context.span_id:016x}" == f"{TRACE}-{SPAN}"
    assert attributes(span).items() >= {
        "messaging.operation.type": "process", "messaging.kafka.offset": 0, "gateway.streams": 2,
        "gateway.event.type": TYPE, "gateway.user": NAMES.name(b"alice"),
    }.items()  # fmt: skip
    assert 0 <= attributes(span)["gateway.delivery.ms"] < 60_000


def test_broadcast_is_linked_without_a_user(stage: Stage) -> None:
    stage.open()
    moment = clock.now()
    header = ("traceparent", PARENT.encode())
    record = make_record(0, moment.wall, b"key", envelope("", TYPE), (header,))
    stage.hub.dispatch({NEWS_LOG: [record]}, moment)
    (span,) = stage.named("deliver news")
    assert attributes(span)["gateway.streams"] == 1


@pytest.mark.parametrize(
    "header",
    [
        b"", b"nonsense", PARENT[:-1].encode() + b"0", b"00-" + b"0" * 32 + PARENT[35:].encode(),
        b"\xff" * 55, PARENT.encode() + b"-more",
    ],
)  # fmt: skip
def test_unsampled_or_invalid_producer_trace_creates_no_span(stage: Stage, header: bytes) -> None:
    stream = stage.open()
    stage.dispatch(("traceparent", header))
    assert stream.sent == 1
    assert [span.name for span in stage.exporter.get_finished_spans()] == ["GET /api/v1/events"]


def test_event_without_receivers_is_not_a_delivery(stage: Stage) -> None:
    stage.open(filter=EventFilter([Selection(frozenset({"security"}))]))
    header = ("traceparent", PARENT.encode())
    stage.dispatch(header, user=b"bob")
    stage.dispatch(header)
    stage.hub.dispatch(
        {USER_LOG: [make_record(2, 0, b"alice", b"no JSON", (header,))]}, clock.now()
    )
    assert stage.named("deliver user-events") == []


def test_a_producer_that_traces_everything_costs_so_much_a_second_and_no_more(
    stage: Stage,
) -> None:
    stream = stage.open()
    header = ("traceparent", PARENT.encode())
    for number in range(MAX_DELIVERIES + 20):
        stage.dispatch(header, moment=Moment(100 + number / 1000, 1_700_000_000_000))
    assert len(stage.named("deliver user-events")) == MAX_DELIVERIES
    assert stream.sent == MAX_DELIVERIES + 20
    stage.dispatch(header, moment=Moment(101, 1_700_000_000_000))
    assert len(stage.named("deliver user-events")) == MAX_DELIVERIES + 1


@pytest.mark.parametrize(
    ("method", "status", "name", "is_error"),
    [
        ("GET", 401, "GET /api/v1/events", False),
        ("GET", 307, "GET /api/v1/events", False),
        ("GET", 503, "GET /api/v1/events", True),
        ("MISCHIEF", 405, "HTTP /api/v1/events", False),
    ],
)
def test_a_refusal_says_its_status_and_only_our_faults_are_errors(
    stage: Stage, method: str, status: int, name: str, is_error: bool
) -> None:
    stage.spans.refused(method, Caller("", "r-2", TRACE, PARENT, 5), status)
    (span,) = stage.named(name)
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == SPAN
    assert attributes(span)["http.response.status_code"] == status
    assert (span.status.status_code is StatusCode.ERROR) is is_error
    assert "MISCHIEF" not in span.to_json()


def test_drain_span_counts_its_streams(stage: Stage) -> None:
    stage.spans.drained(7, 1_000)
    (span,) = stage.named("drain")
    assert span.start_time == 1_000
    assert attributes(span) == {"gateway.drain.streams": 7}


def test_no_user_stands_in_a_span(stage: Stage) -> None:
    stream = stage.open(PARENT)
    stage.dispatch(("traceparent", PARENT.encode()))
    stage.metrics.replayed(0.1, Summary(USER_LOG, (stream.number,), 1, 1))
    text = "".join(span.to_json() for span in stage.exporter.get_finished_spans())
    assert NAMES.name(b"alice") in text
    assert "alice" not in text


class Outage(SpanExporter):
    """An exporter that returns the given results in order."""

    def __init__(self, *results: SpanExportResult) -> None:
        self.results = list(results)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self.results.pop(0)


def test_collector_outage_and_recovery_are_logged_once() -> None:
    good, bad = SpanExportResult.SUCCESS, SpanExportResult.FAILURE
    exporter = Told(Outage(good, bad, bad, good, good))
    with capture_logs() as lines:
        assert [exporter.export([]) for _ in range(5)] == [good, bad, bad, good, good]
    assert [line["log_level"] for line in lines] == ["warning", "info"]


def test_off_nothing_is_made() -> None:
    assert start_tracing(load_settings(), "w", NAMES) is None


def test_off_nothing_is_imported() -> None:
    check = "import sys, gateway.app; sys.exit(any('opentelemetry' in m for m in sys.modules))"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=DEADLINE)


def test_tracing_without_the_extra_names_the_package_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "gateway.ops.spans")
    monkeypatch.setitem(sys.modules, "opentelemetry.context", None)
    settings = load_settings(None, tracing=True)
    with pytest.raises(SettingsError, match=r"pip install '\.\[tracing\]'"):
        start_tracing(settings, "w", NAMES)
