"""Metrics, as Prometheus reads them; names and labels are those of the design, and fixed.

No label has a value that a client or a producer chooses: a label for each user has killed other
hubs. What happens for each event is summed up for each batch, in plain lists.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import HistogramMetricFamily

from gateway.core.admission import Refusal
from gateway.core.event import UnreadableReason
from gateway.core.frame import CloseReason, GapReason
from gateway.core.observer import Path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.core.log import Log, Moment
    from gateway.core.stream import Stream
    from gateway.ops.lives import Lives
    from gateway.ops.notices import Notices

DELIVERY_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24)
REPLAY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class DeliveryTimes:
    """The histogram of record timestamp to socket write, of live events: one update for a batch."""

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

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the histogram; what a Prometheus registry calls."""
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


class Metrics:
    """Counts what happens; the core's `Observer`."""

    def __init__(self, notices: Notices, lives: Lives, partitioner: str) -> None:
        self._notices = notices
        self._lives = lives
        self._partitioner = partitioner
        self.registry = registry = CollectorRegistry(auto_describe=False)
        self._delivery = DeliveryTimes()
        registry.register(self._delivery)
        self._read = Counter(
            "gateway_records_read", "Records that the live consumer has read", registry=registry
        )
        self._redirects = Counter(
            "gateway_redirects", "Requests sent to the URL of their shard", registry=registry
        )
        self._sent = Counter(
            "gateway_events_sent", "Events written to streams", ["path"], registry=registry
        )
        self._gaps = Counter(
            "gateway_gaps", "Gaps that streams were told of", ["reason"], registry=registry
        )
        self._closes = Counter(
            "gateway_closes", "Streams that the gateway ended", ["reason"], registry=registry
        )
        self._rejects = Counter(
            "gateway_rejects", "Requests that opened no stream", ["reason"], registry=registry
        )
        self._unreadable = Counter(
            "gateway_unreadable_records",
            "Records that were skipped because they cannot be understood",
            ["reason"],
            registry=registry,
        )
        self._unknown_types = Counter(
            "gateway_unknown_types", "Events of a type that has no category", registry=registry
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
        for counter, label in (
            (self._sent, Path),
            (self._gaps, GapReason),
            (self._closes, CloseReason),
            (self._unreadable, UnreadableReason),
            (self._rejects, Refusal),
        ):
            for value in label:
                counter.labels(value)

    def gauge(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        """Add a gauge whose value is asked for when it is read."""
        Gauge(name, help_text, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def read(self, records: int) -> None:
        """Count records that the live consumer has read: once for a batch."""
        self._read.inc(records)

    def redirected(self) -> None:
        """Count a request that was sent to the URL of its shard."""
        self._redirects.inc()

    def rejected(self, reason: str, **facts: object) -> None:
        """Count a request that opened no stream; where there are facts, log them."""
        self._rejects.labels(reason).inc()
        if facts:
            self._notices.info(("refused", reason), "request refused", reason=reason, **facts)

    def replayed(self, seconds: float, records: int) -> None:
        """Count a replay scan."""
        self._replay_seconds.observe(seconds)
        self._scanned.inc(records)

    def sent(self, path: Path, deliveries: Sequence[tuple[int, int]], moment: Moment) -> None:
        """Count events handed to sinks."""
        self._sent.labels(path).inc(sum([number for _, number in deliveries]))
        if path is Path.LIVE:
            self._delivery.add(deliveries, moment.wall)

    def gap(self, reason: GapReason) -> None:
        """Count a gap that a stream was told of."""
        self._gaps.labels(reason).inc()

    def opened(self, stream: Stream) -> None:
        """Log a stream that was opened; the hub knows how many there are."""
        self._lives.opened(stream)

    def closed(self, stream: Stream, reason: CloseReason | None, moment: Moment) -> None:
        """Count a stream that was ended on purpose, and log its life."""
        self._lives.closed(stream, reason, moment)
        if reason is not None:
            self._closes.labels(reason).inc()

    def unreadable(self, log: Log, offset: int, reason: UnreadableReason) -> None:
        """Count a record that was skipped, and log its position."""
        self._unreadable.labels(reason).inc()
        self._notices.warn(
            ("unreadable", reason),
            "record skipped",
            reason=str(reason),
            topic=log.topic,
            partition=log.partition,
            offset=offset,
        )

    def unknown_type(self, event_type: str) -> None:
        """Count an event without a category, and log its type."""
        self._unknown_types.inc()
        self._notices.warn("unknown type", "event type is not in the registry", type=event_type)

    def misplaced(self, log: Log, offset: int, expected: int) -> None:
        """Count a key outside its partition, and log which setting to change."""
        self._misplaced.inc()
        other = "crc32" if self._partitioner == "murmur2" else "murmur2"
        self._notices.warn(
            "misplaced",
            "a producer uses another partitioner: its users' events are not found;"
            f" set GATEWAY_PARTITIONER={other} if all producers do, else change the producer",
            topic=log.topic,
            partition=log.partition,
            offset=offset,
            expected_partition=expected,
        )
