"""The metrics of `/metrics` for an OpenTelemetry collector, by OTLP over HTTP.

They are read in the event loop, as for a scrape, and sent by a thread, so a collector that is slow
or away delays nothing; the samples of that period are discarded. OpenTelemetry's variables set
destination (`OTEL_EXPORTER_OTLP_ENDPOINT`) and period (`OTEL_METRIC_EXPORT_INTERVAL`, ms).
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from gateway import __version__
from gateway.ops.collector_http import collector_session
from gateway.ops.spans import finish, resource_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import prometheus_client
    from prometheus_client.samples import Sample

PERIOD_MS = 60_000

LAST_SECONDS = 2.0
"""Time limit of the last export of a worker that ends."""

_CUMULATIVE = AggregationTemporality.CUMULATIVE

_log = structlog.stdlib.get_logger(__name__)


class OtlpMetrics:
    """Sends the metrics that `collect` returns until the task of `run` is cancelled."""

    def __init__(
        self, worker: str, collect: Callable[[], Iterable[prometheus_client.Metric]]
    ) -> None:
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._resource = resource_of(worker)
        self._collect = collect
        self._start = time.time_ns()
        self._seconds = _period()
        self._exporter = OTLPMetricExporter(session=collector_session())
        self._pending: queue.Queue[MetricsData] = queue.Queue(1)
        self._failing = False
        # A daemon: the end of a worker does not wait for a request to the collector.
        threading.Thread(target=self._send, name="otlp metrics", daemon=True).start()

    async def run(self) -> None:
        """Hand the metrics to the sending thread, one period after the other."""
        while True:
            await asyncio.sleep(self._seconds)
            try:
                self._pending.put_nowait(self.data())
            except queue.Full:
                self._told(failed=True)

    async def close(self) -> None:
        """Send the final metrics, within `LAST_SECONDS`; called after `run` has ended.

        Without them the collector would lack what was counted since the last period.
        """
        with suppress(queue.Empty):
            self._pending.get_nowait()  # superseded
            self._pending.task_done()
        self._pending.put_nowait(self.data())
        if not await finish(self._pending.join, LAST_SECONDS):
            _log.warning("the last metrics could not be sent")

    def data(self) -> MetricsData:
        """Return the metrics as they are now."""
        now = time.time_ns()
        metrics = [metric for family in self._collect() for metric in self._converted(family, now)]
        scope = ScopeMetrics(InstrumentationScope("gateway", __version__), metrics, "")
        return MetricsData([ResourceMetrics(self._resource, [scope], "")])

    def _converted(self, family: prometheus_client.Metric, now: int) -> Iterator[Metric]:
        if family.type == "histogram":
            points = [self._histogram(samples, now) for samples in _by_labels(family.samples)]
            data: Histogram | Sum | Gauge = Histogram(points, _CUMULATIVE)
        else:
            numbers = [
                NumberDataPoint(dict(each.labels), self._start, now, each.value)
                for each in family.samples
            ]
            counts = family.type == "counter"
            data = Sum(numbers, _CUMULATIVE, is_monotonic=True) if counts else Gauge(numbers)
        yield Metric(family.name, family.documentation, family.unit, data)

    def _histogram(self, samples: list[Sample], now: int) -> HistogramDataPoint:
        buckets = [each for each in samples if each.name.endswith("_bucket")]
        totals = [int(each.value) for each in buckets]
        [total] = [each.value for each in samples if each.name.endswith("_sum")]
        labels = {name: value for name, value in buckets[0].labels.items() if name != "le"}
        counts = [after - before for before, after in zip([0, *totals], totals, strict=False)]
        bounds = [float(each.labels["le"]) for each in buckets[:-1]]
        unknown: Any = None  # minimum and maximum
        return HistogramDataPoint(
            labels, self._start, now, totals[-1], total, counts, bounds, unknown, unknown
        )

    def _send(self) -> None:
        while True:
            data = self._pending.get()
            self._told(failed=self._exporter.export(data) is not MetricExportResult.SUCCESS)
            self._pending.task_done()

    def _told(self, *, failed: bool) -> None:
        """Log the first failure, and the first success after it."""
        if failed and not self._failing:
            _log.warning("metrics cannot be sent; /metrics still has them")
        elif self._failing and not failed:
            _log.info("metrics are sent again")
        self._failing = failed


def _by_labels(samples: Iterable[Sample]) -> Iterable[list[Sample]]:
    """Return the samples of each series of a histogram."""
    found: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
    for sample in samples:
        key = tuple((name, value) for name, value in sample.labels.items() if name != "le")
        found.setdefault(key, []).append(sample)
    return found.values()


def _period() -> float:
    """Return the seconds between two exports, as OpenTelemetry's SDK reads them."""
    text = os.environ.get("OTEL_METRIC_EXPORT_INTERVAL", "")
    return int(text) / 1000 if text.isdecimal() and int(text) else PERIOD_MS / 1000
