"""The hub and the metrics of a worker with tracing, which also report to `Spans`.

Without tracing none of this is created: the plain hub and metrics are used,
and an event costs nothing extra.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gateway.core.hub import Hub
from gateway.core.records import Event, Moment, Record, TopicPartition
from gateway.http.caller import CALLER
from gateway.http.public import EVENTS
from gateway.http.transport.connection import Connection, TakenOver
from gateway.metrics import Metrics
from gateway.supervise import Part, Supervisor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiohttp.typedefs import Middleware
    from opentelemetry.trace import SpanContext

    from gateway.core.feed import PartitionFeed
    from gateway.core.gap import CloseReason
    from gateway.core.observer import Summary
    from gateway.core.request import StreamRequest
    from gateway.core.stream import Sink, Stream
    from gateway.http.problem import Handler
    from gateway.ops.spans import Spans

MAX_DELIVERIES = 100
"""Deliveries a second that get a span: producers choose the traced events, and a span costs."""

_SAMPLED_DIGIT = 54
_SAMPLED = frozenset(b"13579bdf")
"""The digit of `traceparent` with the flag `sampled` (W3C Trace Context, §3.2.2.5)."""


class TracedHub(Hub):
    """A hub that reports opened streams, and events whose producers are traced."""

    def __init__(self, spans: Spans, supervisor: Supervisor, *parts: Any) -> None:
        super().__init__(*parts)
        self._spans = spans
        self._supervisor = supervisor
        self._second = 0.0
        self._room = MAX_DELIVERIES

    def open(
        self,
        opening: StreamRequest,
        feeds: tuple[PartitionFeed, ...],
        sink: Sink,
        deadlines: Sequence[tuple[float, CloseReason]],
        moment: Moment,
    ) -> Stream:
        """Open a stream, and report its request."""
        begun = time.time_ns()
        stream = super().open(opening, feeds, sink, deadlines, moment)
        if isinstance(sink, Connection):
            with self._supervisor.contain(Part.TRACING):
                self._spans.opened(stream, sink.caller, begun)
        return stream

    def dispatch(self, batches: Mapping[TopicPartition, Sequence[Record]], moment: Moment) -> None:
        """Deliver records, and report records whose headers name a sampled span.

        The headers are read before the delivery: a decoded record has dropped them.
        """
        found: list[tuple[TopicPartition, Record, SpanContext]] = []
        with self._supervisor.contain(Part.TRACING):
            found = self._traced(batches, moment)
        if not found:
            super().dispatch(batches, moment)
            return
        begun = time.time_ns()
        super().dispatch(batches, moment)
        with self._supervisor.contain(Part.TRACING):
            self._delivered(found, begun)

    def _delivered(
        self, found: list[tuple[TopicPartition, Record, SpanContext]], begun: int
    ) -> None:
        for log, record, link in found:
            event, feed = record.event, self.feeds[log]
            live = feed.live_by_key.get(record.key, ()) if feed.keyed else feed.live_unkeyed
            if isinstance(event, Event):
                streams = sum([stream.wants(event) for stream in live])
                if streams:
                    self._spans.delivered(log, record, event, streams, link, begun)

    def _traced(
        self, batches: Mapping[TopicPartition, Sequence[Record]], moment: Moment
    ) -> list[tuple[TopicPartition, Record, SpanContext]]:
        """Return the records for live streams, with the spans of their producers."""
        found: list[tuple[TopicPartition, Record, SpanContext]] = []
        if moment.monotonic - self._second >= 1:
            self._second, self._room = moment.monotonic, MAX_DELIVERIES
        for log, records in batches.items():
            feed = self.feeds[log]
            for record in records:
                if not self._room:
                    return found
                if not record.headers or (feed.keyed and record.key not in feed.live_by_key):
                    continue
                link = self._link(record)
                if link is not None:
                    self._room -= 1
                    found.append((log, record, link))
        return found

    def _link(self, record: Record) -> SpanContext | None:
        for name, value in record.headers:
            if name == "traceparent":
                kept = len(value) > _SAMPLED_DIGIT and value[_SAMPLED_DIGIT] in _SAMPLED
                return self._spans.producer(value) if kept else None
        return None


class TracedMetrics(Metrics):
    """Metrics that also report ended streams and scans."""

    def __init__(self, spans: Spans, *options: Any) -> None:
        super().__init__(*options)
        self._spans = spans

    def replayed(self, seconds: float, summary: Summary) -> None:
        """Count and report a replay scan."""
        super().replayed(seconds, summary)
        self._spans.replayed(seconds, summary)

    def closed(self, stream: Stream, reason: CloseReason | None, moment: Moment) -> None:
        """Count a stream that ends, and discard its request."""
        super().closed(stream, reason, moment)
        self._spans.closed(stream)


def traced(spans: Spans) -> Middleware:
    """Return a middleware that reports rejected requests for a stream.

    It wraps `problems`, which writes the answers. The hub reports opened streams: most of their
    requests never reach aiohttp.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        if request.path == EVENTS and not isinstance(response, TakenOver):
            spans.refused(request.method, request[CALLER], response.status)
        return response

    return middleware
