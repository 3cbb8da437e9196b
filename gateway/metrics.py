"""Prometheus metrics; names and labels are fixed by the design.

No label has a value that a client or a producer chooses: that would create a series for
each. Events are counted once for each batch, in plain lists.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple, Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
)
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.exposition import choose_encoder

from gateway import __version__
from gateway.core.admission import Refusal
from gateway.core.gap import CloseReason, GapReason
from gateway.core.observer import Path
from gateway.core.records import UnreadableReason
from gateway.errors import HttpError, TokenFault
from gateway.fleet.status import Sighting
from gateway.supervise import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from prometheus_client import Metric

    from gateway.core.records import Moment, TopicPartition
    from gateway.core.scan import Summary
    from gateway.core.stream import Stream
    from gateway.throttled_log import ThrottledLog

DELIVERY_BUCKETS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0),
)
"""Seconds, from immediate delivery to a delay by a Kafka outage."""

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


class DeliveryTimes:
    """Histogram: record timestamp to socket write, live events; one update a batch."""

    def __init__(self) -> None:
        self._counts = [0] * (len(DELIVERY_BUCKETS) + 1)
        self._sum = 0.0

    def add(self, deliveries: Sequence[tuple[int, int]], wall: int) -> None:
        """Count deliveries at the time `wall` (ms), each a record timestamp and a number."""
        for timestamp, number in deliveries:
            # Clocks differ: a record from the future was delivered at once.
            seconds = max(0, wall - timestamp) / 1000
            self._counts[bisect_left(DELIVERY_BUCKETS, seconds)] += number
            self._sum += seconds * number

    @property
    def counts(self) -> tuple[int, ...]:
        """Events up to each bound and above the previous one; the last: above all bounds."""
        return tuple(self._counts)

    @property
    def sum(self) -> float:
        """Sum of all delays, in seconds."""
        return self._sum

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the histogram; called by the registry."""
        buckets, total = [], 0
        for bound, number in zip([*map(str, DELIVERY_BUCKETS), "+Inf"], self._counts, strict=True):
            total += number
            buckets.append((bound, total))
        yield HistogramMetricFamily(
            "gateway_delivery_seconds",
            "Time from a record's timestamp to its write to a socket, of live events",
            buckets=buckets,
            sum_value=self._sum,
        )


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
        self._notices = notices
        self._stream_log = stream_log
        self._partitioner = partitioner
        self.registry = registry = CollectorRegistry(auto_describe=False)
        self.delivery = DeliveryTimes()
        self.unreadable_last: Sighting | None = None
        self.mismatch_last: Sighting | None = None
        registry.register(self.delivery)
        ProcessCollector(registry=registry)
        Gauge(
            "gateway_info", "1, with the version of the worker", ["version"], registry=registry
        ).labels(__version__).set(1)
        Info("gateway_build", "Version of the worker and of Python", registry=registry).info(
            {"version": __version__, "python": platform.python_version()}
        )
        self._read = Counter(
            "gateway_records_read", "Records that the live consumer has read", registry=registry
        )
        self._stalls = Counter(
            "gateway_fetch_stalls",
            "Partitions without a broker response in time",
            registry=registry,
        )
        self._redirects = Counter(
            "gateway_redirects", "Requests sent to the URL of their shard", registry=registry
        )
        self._handovers = Counter(
            "gateway_handovers",
            "Connections handed to the worker process of their partition",
            registry=registry,
        )
        self._loop_delay = Histogram(
            "gateway_loop_delay_seconds",
            "Time by which the event loop was late, measured five times a second",
            buckets=LOOP_BUCKETS,
            registry=registry,
        )
        self._sent = Counter(
            "gateway_events_sent", "Events written to streams", ["path"], registry=registry
        )
        self._gaps = Counter(
            "gateway_gaps", "Gaps written to streams", ["reason"], registry=registry
        )
        self._closes = Counter(
            "gateway_closes", "Streams that the gateway ended", ["reason"], registry=registry
        )
        self._rejects = Counter(
            "gateway_rejects", "Requests that opened no stream", ["reason"], registry=registry
        )
        self._token_refusals = Counter(
            "gateway_token_refusals",
            "Requests whose token was missing or rejected, by reason",
            ["reason"],
            registry=registry,
        )
        self._unreadable = Counter(
            "gateway_unreadable_records",
            "Records that were skipped because they are invalid",
            ["reason"],
            registry=registry,
        )
        self._dead_letters = Counter(
            "gateway_dead_letters",
            "Skipped records that were written to the dead-letter topic, or discarded",
            ["result"],
            registry=registry,
        )
        for result in ("written", "discarded"):
            self._dead_letters.labels(result)
        self._unknown_types = Counter(
            "gateway_unknown_types", "Events of a type without a category", registry=registry
        )
        self._misplaced = Counter(
            "gateway_partitioner_mismatches",
            "Keys seen in a partition where the configured partitioner would not put them",
            registry=registry,
        )
        self._replay_seconds = Histogram(
            "gateway_replay_seconds",
            "Duration of replay scans",
            buckets=REPLAY_BUCKETS,
            registry=registry,
        )
        self._scanned = Counter(
            "gateway_replay_records_scanned", "Records read by replay scans", registry=registry
        )
        self._internal_errors = Counter(
            "gateway_internal_errors",
            "Unexpected exceptions that were contained, by the part of the worker that failed",
            ["part"],
            registry=registry,
        )
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
        # Start at 0: Prometheus sees no increase in the first value of a series.
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
        return encode(_WithoutCreated(self.registry)), content_type

    def families(self) -> Iterator[Metric]:
        """Return all metrics with their present values, without series `_created`."""
        return _WithoutCreated(self.registry).collect()

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

    def read(self, records: int) -> None:
        """Count records that the live consumer has read: once for a batch."""
        self._read.inc(records)

    def stalled(self) -> None:
        """Count a partition whose fetches stalled."""
        self._stalls.inc()

    def redirected(self) -> None:
        """Count a request that was sent to the URL of its shard."""
        self._redirects.inc()

    def handed_over(self) -> None:
        """Count a connection that went to another worker process of this machine."""
        self._handovers.inc()

    def loop_late(self, seconds: float) -> None:
        """Count by how much the event loop was late."""
        self._loop_delay.observe(seconds)

    def failed(self, part: Part, error: BaseException) -> None:
        """Count an unexpected exception that was contained, and log its traceback."""
        self._internal_errors.labels(part).inc()
        self._notices.error(
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
            self._notices.info(kind, "request refused", reason=reason, **facts)

    def token_refused(self, fault: TokenFault) -> None:
        """Count a request whose token was missing or not accepted."""
        self._token_refusals.labels(fault).inc()

    def replayed(self, seconds: float, summary: Summary) -> None:
        """Count a replay scan."""
        self._replay_seconds.observe(seconds)
        self._scanned.inc(summary.records)

    def sent(self, path: Path, deliveries: Sequence[tuple[int, int]], moment: Moment) -> None:
        """Count events handed to sinks."""
        self._sent.labels(path).inc(sum([number for _, number in deliveries]))
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
        self.unreadable_last = Sighting(log.topic, log.partition, offset, str(reason))
        self._notices.warn(
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
        self._notices.warn("unknown type", "event type is not in the registry", type=event_type)

    def misplaced(self, log: TopicPartition, offset: int, expected: int) -> None:
        """Count a key outside its partition, and log which setting to change."""
        self._misplaced.inc()
        other = "crc32" if self._partitioner == "murmur2" else "murmur2"
        self.mismatch_last = Sighting(log.topic, log.partition, offset, other)
        self._notices.warn(
            "misplaced",
            "a producer uses another partitioner: its users' events are not found;"
            f" set GATEWAY_PARTITIONER={other} if all producers do, else change the producer",
            topic=log.topic,
            partition=log.partition,
            offset=offset,
            expected_partition=expected,
        )


class _WithoutCreated:
    """A registry without the series `_created`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        for metric in self._registry.collect():
            metric.samples = [s for s in metric.samples if not s.name.endswith("_created")]
            yield metric


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
