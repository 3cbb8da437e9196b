"""Traces of a worker as a collector gets them, and streams while the collector is unavailable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from gateway.demo.broker import EmbeddedBroker
from tests.brokers.metadata import create_topics
from tests.child import free_port
from tests.client import StreamClient
from tests.conftest import use_worker, worker_settings
from tests.eventually import DEADLINE, eventually
from tests.ops.collector import Collector, values_of
from tests.records import RecordWriter, Topics
from tests.tokens import bearer, mint
from tests.worker import Worker

TOPICS = Topics("user-events", "broadcast-events")
REQUEST = "GET /api/v1/events"


def traceparent(number: int, *, sampled: bool = True) -> str:
    return f"00-{number:032x}-{number:016x}-{int(sampled):02x}"


class Span(NamedTuple):
    name: str
    trace: int
    id: int
    parent: int
    links: list[tuple[int, int]]
    attributes: dict[str, Any]


class SpanCollector(Collector):
    """Keeps all spans."""

    path = "/v1/traces"
    response = ExportTraceServiceResponse

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[Span] = []

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    async def wait_for(self, name: str, count: int = 1) -> list[Span]:
        await eventually(f"{count} spans {name}", lambda: len(self.named(name)) >= count)
        return self.named(name)

    def keep(self, body: bytes) -> None:
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resource = values_of(group.resource.attributes)
            for span in [span for scope in group.scope_spans for span in scope.spans]:
                links = [(_number(link.trace_id), _number(link.span_id)) for link in span.links]
                self.spans.append(
                    Span(
                        span.name,
                        _number(span.trace_id),
                        _number(span.span_id),
                        _number(span.parent_span_id),
                        links,
                        values_of(span.attributes),
                    )
                )


def _number(span_or_trace: bytes) -> int:
    return int.from_bytes(span_or_trace)


class Ground(NamedTuple):
    """A worker that traces, and a broker with its topics."""

    worker: Worker
    write: RecordWriter


@asynccontextmanager
async def tracing_worker(
    request: pytest.FixtureRequest, folder: Path, port: int, seconds: float = DEADLINE
) -> AsyncIterator[Ground]:
    """Run a worker that waits `seconds` for the answer of a collector at the port."""
    async with EmbeddedBroker() as broker:
        await create_topics(
            broker.bootstrap, [NewTopic(TOPICS.user, 1, 1), NewTopic(TOPICS.broadcast, 1, 1)]
        )
        settings = worker_settings(
            TOPICS, kafka_bootstrap=broker.bootstrap, tracing="true", tail_warm_seconds=0
        )
        worker = Worker(
            {
                **settings,
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
                "OTEL_EXPORTER_OTLP_TIMEOUT": str(seconds),
                "OTEL_BSP_SCHEDULE_DELAY": "50",
                "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
            },
            folder / "log",
        )
        try:
            use_worker(request, worker)
            await worker.wait_until_ready()
            async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap) as producer:
                yield Ground(worker, RecordWriter(producer, TOPICS))
        finally:
            await asyncio.to_thread(worker.end)


async def test_trace_spans_producer_worker_and_client(
    request: pytest.FixtureRequest, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    collector = SpanCollector()
    async with (
        collector.listening(),
        tracing_worker(request, tmp_path, collector.port) as (worker, write),
        StreamClient(worker.events_url, mint("alice")) as alice,
        StreamClient(worker.events_url, mint("bob")) as bob,
        StreamClient(worker.events_url, mint("alice")) as again,
    ):
        await write.numbered("alice", range(3))
        # The log is not read yet, so aiohttp handles this request; the next takes the fast path.
        await alice.connect([("since", "1")], {"traceparent": traceparent(1)})
        await alice.wait_for(lambda client: len(client.data) == 3)
        await bob.connect(headers={"traceparent": traceparent(2)})
        await bob.wait_for(lambda client: client.last_event_id)
        for number, sampled in ((3, True), (4, False)):
            header = ("traceparent", traceparent(number, sampled=sampled).encode())
            await write.event("bob", headers=[header])
        await bob.wait_for(2)
        before = alice.last_event_id
        await write.numbered("alice", range(3, 5))
        await alice.wait_for(lambda client: len(client.data) == 5)
        await again.connect(headers={"Last-Event-ID": before, "traceparent": traceparent(5)})
        await again.wait_for(2)
        refused = {**bearer("no token"), "traceparent": traceparent(6)}
        async with http.get(worker.events_url, headers=refused) as response:
            assert response.status == 401

        requests = {span.trace: span for span in await collector.wait_for(REQUEST, 4)}
        replays = {
            span.attributes["gateway.replay.from"]: span
            for span in await collector.wait_for("replay", 2)
        }
        (delivery,) = await collector.wait_for(f"deliver {TOPICS.user}")
        await asyncio.to_thread(worker.end)
        assert worker.exit_code == 0

    assert {trace: span.parent for trace, span in requests.items()} == {1: 1, 2: 2, 5: 5, 6: 6}
    statuses = [requests[n].attributes["http.response.status_code"] for n in (1, 2, 5, 6)]
    assert statuses == [200, 200, 200, 401]
    assert replays["kafka"].parent == requests[1].id
    assert replays["kafka"].attributes["gateway.replay.events"] == 3
    assert replays["kafka"].attributes["gateway.replay.records"] >= 3
    assert replays["memory"].parent == requests[5].id
    assert replays["memory"].attributes["gateway.replay.events"] == 2
    assert delivery.links == [(3, 3)]
    assert delivery.attributes["gateway.streams"] == 1
    assert [span.attributes for span in collector.named("drain")] == [{"gateway.drain.streams": 3}]
    assert collector.resource["service.name"] == "kafka-sse-gateway"
    assert collector.resource["deployment.environment.name"] == "test"
    told = repr(collector.spans)
    assert "alice" not in told
    assert "bob" not in told


async def test_streams_do_not_notice_that_the_collector_is_away(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with (
        tracing_worker(request, tmp_path, free_port(), 1) as (worker, write),
        StreamClient(worker.events_url, mint("alice")) as alice,
    ):
        await alice.connect()
        await alice.wait_for(lambda client: client.last_event_id)

        async def told() -> bool:
            header = ("traceparent", traceparent(9).encode())
            await write.event("alice", headers=[header])
            return "traces cannot be sent" in worker.log()

        await eventually("the outage is reported", told)
        await write.numbered("alice", range(20))
        await alice.wait_for(lambda client: client.data[-1:] == ['{"n":19}'])
        assert alice.own("close") == []
        await asyncio.to_thread(worker.end)
        assert worker.exit_code == 0
    assert worker.log().count("traces cannot be sent") == 1
    assert "opentelemetry" not in worker.log(), "its own lines would come with each attempt"
