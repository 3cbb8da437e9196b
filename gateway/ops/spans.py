"""Spans for OpenTelemetry: their names and attributes.

    GET /api/v1/events   a request for a stream, up to its opening or refusal; server
    replay               what a client had missed: from memory below its request, or by a scan of
                         Kafka below the first of the requests that waited for it
    deliver TOPIC        an event written to live streams; linked to its producer
    drain                the end of a worker

Nothing of a user is in them but its name in the log: no id, token, query or payload. Where spans go
and how many are kept say OpenTelemetry's own environment variables. They are sent by a thread, from
a queue that loses what does not fit, so no stream waits for a collector that is slow or away.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway import __version__
from gateway.http.public import EVENTS
from gateway.ops.collector_http import collector_session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.util.types import AttributeValue

    from gateway.core.observer import Summary
    from gateway.core.records import Event, Record, TopicPartition
    from gateway.core.stream import Stream
    from gateway.http.caller import Caller
    from gateway.ops.pseudonyms import Pseudonyms

SERVICE = "kafka-sse-gateway"
"""`service.name`, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES say another one."""

FLUSH_SECONDS = 2.0
"""How long the end of a worker may wait for its last spans to be sent."""

MAX_LINKS = 128
"""Maximum links from the span of a scan to its streams: the default limit of the SDK."""

SERVER_ERROR = 500

_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
)

_log = structlog.stdlib.get_logger(__name__)


class Spans:
    """Makes spans. All times are Unix nanoseconds."""

    def __init__(self, provider: TracerProvider, names: Pseudonyms) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("gateway", __version__)
        self._names = names
        self._propagator = TraceContextTextMapPropagator()
        self._requests: dict[int, SpanContext] = {}
        """By the numbers of open streams their requests' spans, where these are kept."""

    def opened(self, stream: Stream, caller: Caller, begun: int) -> None:
        """Tell of a request that has opened a stream, and has been served from memory."""
        now = time.time_ns()
        attributes = _request("GET", caller, 200)
        attributes["gateway.user"] = self._names.name(stream.key)
        attributes["gateway.stream.state"] = str(stream.state)
        span = self._tracer.start_span(
            f"GET {EVENTS}", self._parent(caller), SpanKind.SERVER, attributes, None, caller.at
        )
        if stream.sent and span.is_recording():
            self._tracer.start_span(
                "replay",
                set_span_in_context(span, Context()),
                attributes={"gateway.replay.from": "memory", "gateway.replay.events": stream.sent},
                start_time=begun,
            ).end(now)
        span.end(now)
        context = span.get_span_context()
        if context.trace_flags.sampled and not stream.closed:
            self._requests[stream.number] = context

    def refused(self, method: str, caller: Caller, status: int) -> None:
        """Tell of a request that was answered with something else than a stream."""
        known = method if method in _METHODS else "_OTHER"
        span = self._tracer.start_span(
            f"{'HTTP' if known == '_OTHER' else known} {EVENTS}",
            self._parent(caller),
            SpanKind.SERVER,
            _request(known, caller, status),
            None,
            caller.at,
        )
        if status >= SERVER_ERROR:
            span.set_attribute("error.type", str(status))
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def closed(self, stream: Stream) -> None:
        """Forget a stream."""
        self._requests.pop(stream.number, None)

    def replayed(self, seconds: float, summary: Summary) -> None:
        """Tell of a scan that has just ended, if a stream that waited for it is traced."""
        found = [self._requests.get(number) for number in summary.streams]
        requests = [context for context in found if context is not None][:MAX_LINKS]
        if not requests:
            return
        now = time.time_ns()
        attributes = {
            **_place(summary.log),
            "gateway.replay.from": "kafka",
            "gateway.replay.streams": len(summary.streams),
            "gateway.replay.records": summary.records,
            "gateway.replay.events": summary.events,
        }
        self._tracer.start_span(
            "replay",
            set_span_in_context(NonRecordingSpan(requests[0]), Context()),
            SpanKind.CONSUMER,
            attributes,
            [Link(request) for request in requests[1:]],
            now - int(seconds * 1e9),
        ).end(now)

    def producer(self, traceparent: bytes) -> SpanContext | None:
        """Return whose span a record's header names, if that is one which is kept."""
        text = traceparent.decode("ascii", "replace")
        span = get_current_span(self._propagator.extract({"traceparent": text}, Context()))
        context = span.get_span_context()
        return context if context.is_valid and context.trace_flags.sampled else None

    def delivered(
        self,
        log: TopicPartition,
        record: Record,
        event: Event,
        streams: int,
        link: SpanContext,
        begun: int,
    ) -> None:
        """Tell of an event that was written to live streams."""
        now = time.time_ns()
        attributes: dict[str, AttributeValue] = {
            **_place(log),
            "messaging.operation.name": "deliver",
            "messaging.operation.type": "process",
            "messaging.kafka.offset": record.offset,
            "gateway.event.type": event.event_type,
            "gateway.streams": streams,
            "gateway.delivery.ms": max(0, now // 1_000_000 - record.timestamp),
        }
        if record.key:
            attributes["gateway.user"] = self._names.name(record.key)
        self._tracer.start_span(
            f"deliver {log.topic}",
            Context(),
            SpanKind.CONSUMER,
            attributes,
            [Link(link)],
            begun,
        ).end(now)

    def drained(self, streams: int, begun: int) -> None:
        """Tell of a drain that has ended."""
        attributes = {"gateway.drain.streams": streams}
        self._tracer.start_span("drain", Context(), attributes=attributes, start_time=begun).end()

    async def close(self) -> None:
        """Send the remaining spans, for at most `FLUSH_SECONDS`, and create no more."""
        if not await finish(self._provider.shutdown, FLUSH_SECONDS):
            _log.warning("the last traces could not be sent")

    def _parent(self, caller: Caller) -> Context:
        if not caller.traceparent:
            return Context()
        return self._propagator.extract({"traceparent": caller.traceparent}, Context())


class Told(SpanExporter):
    """An exporter that says once when nothing can be sent, and once when that is over.

    OpenTelemetry's own lines come with each attempt, so they are not shown.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; spans that cannot be sent are lost."""
        result = self._exporter.export(spans)
        failing = result is not SpanExportResult.SUCCESS
        if failing and not self._failing:
            _log.warning("traces cannot be sent, and are lost; look at OTEL_EXPORTER_OTLP_ENDPOINT")
        elif self._failing and not failing:
            _log.info("traces are sent again")
        self._failing = failing
        return result

    def shutdown(self) -> None:
        """Send no more."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait for the spans that are being sent."""
        return self._exporter.force_flush(timeout_millis)


async def finish(last: Callable[[], object], seconds: float) -> bool:
    """Call `last` in a thread; return whether it has ended within `seconds`.

    A daemon thread: with an unreachable collector the last export takes long, and the process must
    not wait for it.
    """
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def run() -> None:
        last()
        with suppress(RuntimeError):  # the event loop is closed
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, name="last export", daemon=True).start()
    try:
        async with asyncio.timeout(seconds):
            await done.wait()
    except TimeoutError:
        return False
    return True


def exporter() -> OTLPSpanExporter:
    """Return the exporter that OpenTelemetry's environment variables describe."""
    return OTLPSpanExporter(session=collector_session())


def exporting(worker: str, names: Pseudonyms) -> Spans:
    """Return spans that go where OpenTelemetry's environment variables say, by OTLP over HTTP."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    provider = TracerProvider(resource=resource_of(worker), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Told(exporter())))
    return Spans(provider, names)


def resource_of(worker: str) -> Resource:
    """Return the resource of a worker, with the attributes of the environment."""
    own = Resource.create(
        {"service.name": SERVICE, "service.version": __version__, "service.instance.id": worker}
    )
    return own.merge(OTELResourceDetector().detect())


def _request(method: str, caller: Caller, status: int) -> dict[str, AttributeValue]:
    return {
        "http.request.method": method,
        "http.route": EVENTS,
        "url.path": EVENTS,
        "http.response.status_code": status,
        "client.address": caller.address,
        "gateway.request_id": caller.request_id,
    }


def _place(log: TopicPartition) -> dict[str, AttributeValue]:
    return {
        "messaging.system": "kafka",
        "messaging.destination.name": log.topic,
        "messaging.destination.partition.id": str(log.partition),
    }
