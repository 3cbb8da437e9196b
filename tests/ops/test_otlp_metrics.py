"""Metrics of a worker as an OpenTelemetry collector gets them."""

from __future__ import annotations

import asyncio
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from prometheus_client import CollectorRegistry, Counter, Histogram

from gateway.ops import otlp_metrics
from gateway.ops.otlp_metrics import OtlpMetrics
from tests.child import free_port
from tests.conftest import use_worker, worker_settings
from tests.eventually import eventually
from tests.ops.collector import Collector, values_of
from tests.records import Topics
from tests.worker import Worker

TOPICS = Topics("user-events", "broadcast-events", "", "")


class MetricCollector(Collector):
    """Keeps the last metric of each name."""

    path = "/v1/metrics"
    response = ExportMetricsServiceResponse

    def __init__(self) -> None:
        super().__init__()
        self.metrics: dict[str, Any] = {}

    def keep(self, body: bytes) -> None:
        for group in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            self.resource = values_of(group.resource.attributes)
            for scope in group.scope_metrics:
                self.metrics |= {metric.name: metric for metric in scope.metrics}


async def test_worker_sends_its_metrics_and_survives_without_a_collector(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    collector = MetricCollector()
    away = f"127.0.0.1:{free_port()}"
    settings = worker_settings(TOPICS, kafka_bootstrap=away, otlp_metrics="true")
    worker = Worker(
        {
            **settings,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
            "OTEL_METRIC_EXPORT_INTERVAL": "100",
        },
        tmp_path / "log",
    )
    use_worker(request, worker)
    try:
        await worker.wait_for_entries("metrics cannot be sent; /metrics still has them")
        async with collector.listening():
            await eventually("metrics arrive", lambda: "gateway_ready" in collector.metrics)
            await worker.wait_for_entries("metrics are sent again")
        assert collector.resource["service.name"] == "kafka-sse-gateway"
        assert collector.resource["service.instance.id"]
        [ready] = collector.metrics["gateway_ready"].gauge.data_points
        assert ready.as_double == 0
        rejects = collector.metrics["gateway_rejects"].sum
        assert rejects.is_monotonic
        assert {point.attributes[0].key for point in rejects.data_points} == {"reason"}
        [delivery] = collector.metrics["gateway_delivery_seconds"].histogram.data_points
        assert len(delivery.bucket_counts) == len(delivery.explicit_bounds) + 1
        assert not delivery.HasField("min")
        assert not [name for name in collector.metrics if name.endswith("_created")]
    finally:
        worker.end()


async def test_a_worker_that_ends_sends_its_last_metrics(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    collector = MetricCollector()
    away = f"127.0.0.1:{free_port()}"
    async with collector.listening():
        worker = Worker(
            {
                **worker_settings(TOPICS, kafka_bootstrap=away, otlp_metrics="true"),
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}",
                "OTEL_METRIC_EXPORT_INTERVAL": "3600000",
            },
            tmp_path / "log",
        )
        use_worker(request, worker)
        await worker.wait_for_entries("listening")
        assert not collector.metrics
        worker.signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait, 30) == 0
        assert "gateway_ready" in collector.metrics


async def test_the_last_export_ends_in_time_without_a_collector(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(otlp_metrics, "LAST_SECONDS", 0.05)
    metrics = OtlpMetrics("w", CollectorRegistry().collect)
    answer = threading.Event()
    monkeypatch.setattr(OTLPMetricExporter, "export", lambda *_: answer.wait())
    await metrics.close()
    answer.set()


def test_histograms_and_counters_keep_their_labels_and_values() -> None:
    registry = CollectorRegistry()
    counter = Counter("things", "Things", ["kind"], registry=registry)
    counter.labels("a").inc(3)
    counter.labels("b").inc(4)
    histogram = Histogram("times", "Times", ["path"], buckets=(1, 2), registry=registry)
    for value in (0.5, 1.5, 1.6, 9):
        histogram.labels("x").observe(value)
    histogram.labels("y").observe(1)
    [resource] = OtlpMetrics("w", registry.collect).data().resource_metrics
    things, times = resource.scope_metrics[0].metrics
    data: Any = things.data
    found = {(point.attributes["kind"], point.value) for point in data.data_points}
    assert {("a", 3), ("b", 4)} <= found
    points: Any = times.data.data_points
    first, second = points
    assert first.attributes == {"path": "x"}
    assert list(first.bucket_counts) == [1, 2, 1]
    assert list(first.explicit_bounds) == [1, 2]
    assert (first.count, round(first.sum, 1)) == (4, 12.6)
    assert list(second.bucket_counts) == [1, 0, 0]
