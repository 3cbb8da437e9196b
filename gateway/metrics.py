"""Prometheus metrics; names and labels are fixed by the design.

No label has a value that a client or a producer chooses: that would create a series for
each. Events are counted once for each batch, in plain lists.
"""

from __future__ import annotations

import platform
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
)
from prometheus_client.exposition import choose_encoder

from gateway import __version__
from gateway.core.admission import Refusal
from gateway.core.gap import CloseReason, GapReason
from gateway.core.observer import Path
from gateway.core.records import UnreadableReason
from gateway.delivery_times import DeliveryTimes
from gateway.errors import HttpError, TokenFault
from gateway.fleet.status import Sighting
from gateway.supervise import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from prometheus_client import Metric

    from gateway.core.observer import Summary
    from gateway.core.records import Moment, Record, TopicPartition
    from gateway.core.stream import Stream
    from gateway.throttled_log import ThrottledLog
    from gateway.topic_totals import TopicTotals

REPLAY_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0),
)
"""Seconds, for replays of a few records up to millions."""

LOOP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds by which the event loop is late; all work of the worker waits."""


class StreamObserver(Protocol):
    """Logs the start and the end of streams."""

    def opened(self, stream: Stream) -> None:
        """Log a stream that opens."""

    def closed(self, stream: Stream, reason: CloseReason | None, moment: Moment) -> None:
        """Log a stream that ends; its positions are still known."""


class Totals(NamedTuple):
    """Counts since the start, by path or reason if a metric has several."""

    events: dict[str, int]
    gaps: dict[str, int]
    closes: dict[str, int]
    rejects: dict[str, int]
    unreadable: dict[str, int]
    unknown_types: int
    misplaced: int
    records: int


class Metrics:
    """The core's `Observer`: counts and logs."""

    def __init__(self, notices: ThrottledLog, stream_log: StreamObserver, partitioner: str) -> None:
        self.notices = notices
        self._stream_log = stream_log
        self._partitioner = partitioner
        self.registry = registry = CollectorRegistry(auto_describe=False)
        self.delivery = DeliveryTimes()
        self.topics: TopicTotals | None = None
        self.unreadable_last: Sighting | None = None
        self.mismatch_last: Sighting | None = None
        registry.register(self.delivery)
        ProcessCollector(registry=registry)
        info = Gauge(
            "gateway_info", "1, with the version of the worker", ["version"], registry=registry
        )
        info.labels(__version__).set(1)
        Info("gateway_build", "Version of the worker and of Python", registry=registry).info(
            {"version": __version__, "python": platform.python_version()}
        )
        count, measure = partial(Counter, registry=registry), partial(Histogram, registry=registry)
        self._read = count("gateway_records_read", "Records that the live consumer has read")
        self._stalls = count("gateway_fetch_stalls", "Partitions without a broker response in time")
        self._redirects = count("gateway_redirects", "Requests sent to the URL of their shard")
        self._handovers = count(
            "gateway_handovers", "Connections handed to the worker process of their partition"
        )
        self._loop_delay = measure(
            "gateway_loop_delay_seconds",
            "Time by which the event loop was late, measured five times a second",
            buckets=LOOP_BUCKETS,
        )
        self._sent = count("gateway_events_sent", "Events written to streams", ["path"])
        self._sent_by = {path: self._sent.labels(path) for path in Path}
        self._gaps = count("gateway_gaps", "Gaps written to streams", ["reason"])
        self._closes = count("gateway_closes", "Streams that the gateway ended", ["reason"])
        self._rejects = count("gateway_rejects", "Requests that opened no stream", ["reason"])
        self._token_refusals = count(
            "gateway_token_refusals",
            "Requests whose token was missing or rejected, by reason",
            ["reason"],
        )
        self._unreadable = count(
            "gateway_unreadable_records",
            "Records that were skipped because they are invalid",
            ["reason"],
        )
        self._dead_letters = count(
            "gateway_dead_letters",
            "Skipped records that were written to the dead-letter topic, or discarded",
            ["result"],
        )
        for result in ("written", "discarded"):
            self._dead_letters.labels(result)
        self._unknown_types = count("gateway_unknown_types", "Events of a type without a category")
        self._misplaced = count(
            "gateway_partitioner_mismatches",
            "Keys seen in a partition where the configured partitioner would not put them",
        )
        self._replay_seconds = measure(
            "gateway_replay_seconds", "Duration of replay scans", buckets=REPLAY_BUCKETS
        )
        self._scanned = count("gateway_replay_records_scanned", "Records read by replay scans")
        self._internal_errors = count(
            "gateway_internal_errors",
            "Unexpected exceptions that were contained, by the part of the worker that failed",
            ["part"],
        )
        self._start_at_zero()

    def _start_at_zero(self) -> None:
        """Create all series of the labels: Prometheus sees no increase in a first value."""
        for counter, label in (
            (self._internal_errors, Part),
            (self._sent, Path),
            (self._gaps, GapReason),
            (self._closes, CloseReason),
            (self._unreadable, UnreadableReason),
            (self._rejects, Refusal),
            (self._token_refusals, TokenFault),
        ):
            for value in label:
                counter.labels(value)
        for kind in HttpError.__subclasses__():
            if kind.reason:
                self._rejects.labels(kind.reason)

    def gauge(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        """Add a gauge whose value is computed at each scrape."""
        Gauge(name, help_text, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return self.exposition("")[0]

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics and their content type: OpenMetrics if `Accept` requests it.

        Series `_created` are left out: they double the number of series, and Prometheus ignores
        them.
        """
        encode, content_type = choose_encoder(accept)
        return encode(self), content_type

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics with their present values, without series `_created`."""
        for metric in self.registry.collect():
            metric.samples = [s for s in metric.samples if not s.name.endswith("_created")]
            yield metric

    def totals(self) -> Totals:
        """Return the counts. Costs about 50 µs: do not call it for each event."""
        return Totals(
            _by_label(self._sent),
            _by_label(self._gaps),
            _by_label(self._closes),
            _by_label(self._rejects),
            _by_label(self._unreadable),
            _count(self._unknown_types),
            _count(self._misplaced),
            _count(self._read),
        )

    def add_topics(self, topics: TopicTotals) -> None:
        """Count records by topic too."""
        self.topics = topics
        self.registry.register(topics)

    def read(self, batches: Mapping[TopicPartition, Sequence[Record]]) -> None:
        """Count records that the live consumer has read: once for a batch."""
        self._read.inc(sum([len(records) for records in batches.values()]))
        if self.topics is not None:
            for log, records in batches.items():
                self.topics.read[log.topic] += len(records)

    def stalled(self) -> None:
        """Count a partition whose fetches stalled."""
        self._stalls.inc()

    def redirected(self) -> None:
        """Count a request that was sent to the URL of its shard."""
        self._redirects.inc()

    def handed_over(self, number: int) -> None:
        """Count connections that went to another worker process of this machine."""
        self._handovers.inc(number)

    def loop_late(self, seconds: float) -> None:
        """Count by how much the event loop was late."""
        self._loop_delay.observe(seconds)

    def failed(self, part: Part, error: BaseException) -> None:
        """Count an unexpected exception that was contained, and log its traceback."""
        self._internal_errors.labels(part).inc()
        self.notices.error(
            ("failed", part),
            "unexpected exception contained",
            part=str(part),
            exc_info=error,
        )

    def rejected(self, reason: str, **facts: object) -> None:
        """Count a request that opened no stream; log it if `facts` are given."""
        self._rejects.labels(reason).inc()
        if facts:
            kind = ("refused", reason, facts.get("token"))
            self.notices.info(kind, "request refused", reason=reason, **facts)

    def token_refused(self, fault: TokenFault) -> None:
        """Count a request whose token was missing or not accepted."""
        self._token_refusals.labels(fault).inc()

    def replayed(self, seconds: float, summary: Summary) -> None:
        """Count a replay scan."""
        self._replay_seconds.observe(seconds)
        self._scanned.inc(summary.records)

    def sent(self, path: Path, deliveries: Sequence[tuple[int, int]], moment: Moment) -> None:
        """Count events handed to sinks."""
        self._sent_by[path].inc(sum([number for _, number in deliveries]))
        if path is Path.LIVE:
            self.delivery.add(deliveries, moment.wall)

    def gap(self, reason: GapReason) -> None:
        """Count a gap that was written to a stream."""
        self._gaps.labels(reason).inc()

    def opened(self, stream: Stream) -> None:
        """Log a stream that was opened; the hub counts open streams."""
        self._stream_log.opened(stream)

    def closed(self, stream: Stream, reason: CloseReason | None, moment: Moment) -> None:
        """Count a stream that the gateway ended, and log its totals."""
        self._stream_log.closed(stream, reason, moment)
        if reason is not None:
            self._closes.labels(reason).inc()

    def unreadable(
        self, log: TopicPartition, offset: int, reason: UnreadableReason, detail: str = ""
    ) -> None:
        """Count a record that was skipped, and log its position and the field at fault."""
        self._unreadable.labels(reason).inc()
        if self.topics is not None:
            self.topics.skipped[log.topic] += 1
        self.unreadable_last = Sighting(log.topic, log.partition, offset, str(reason))
        self.notices.warn(
            ("unreadable", reason),
            "record skipped",
            reason=str(reason),
            **({"detail": detail} if detail else {}),
            topic=log.topic,
            partition=log.partition,
            offset=offset,
        )

    def dead_letter(self, result: str) -> None:
        """Count a skipped record that was written to the dead-letter topic, or discarded."""
        self._dead_letters.labels(result).inc()

    def unknown_type(self, event_type: str) -> None:
        """Count an event without a category, and log its type."""
        self._unknown_types.inc()
        self.notices.warn("unknown type", "event type is not in the registry", type=event_type)

    def misplaced(self, log: TopicPartition, offset: int, expected: int) -> None:
        """Count a key outside its partition, and log which setting to change."""
        self._misplaced.inc()
        other = "crc32" if self._partitioner == "murmur2" else "murmur2"
        self.mismatch_last = Sighting(log.topic, log.partition, offset, other)
        self.notices.warn(
            "misplaced",
            "a producer uses another partitioner: its users' events are not found;"
            f" set GATEWAY_PARTITIONER={other} if all producers do, else change the producer",
            topic=log.topic,
            partition=log.partition,
            offset=offset,
            expected_partition=expected,
        )


def _by_label(counter: Counter) -> dict[str, int]:
    """Return the counts by the value of the only label."""
    return {
        value: int(sample.value)
        for metric in counter.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
        for value in sample.labels.values()
    }


def _count(counter: Counter) -> int:
    [metric] = counter.collect()
    return int(metric.samples[0].value)
