"""The Grafana dashboard: it is valid, and each query returns data.

Grafana itself is not run. Its queries go to a Prometheus that scrapes a worker to which
everything happens that a panel shows.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from itertools import combinations
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from gateway.core.partitioner import partitioner
from gateway.demo.broker import EmbeddedBroker
from tests.brokers.metadata import create_topics
from tests.client import StreamClient
from tests.conftest import use_worker, worker_settings
from tests.eventually import eventually
from tests.programs import require
from tests.prometheus import Prometheus
from tests.records import RecordWriter, Topics, numbered
from tests.tokens import bearer, mint
from tests.worker import Worker

FILE = Path(__file__).parents[2] / "deploy/grafana/dashboards/gateway.json"
DASHBOARD: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

COLUMNS = 24
PARTITIONS = 4
TOPICS = Topics("user-events", "broadcast-events")

GIVEN = {
    "$job": "gateway", "$instance": ".+", "$__rate_interval": "20s", "${datasource}": "prometheus"
}  # fmt: skip
"""Values of Grafana's variables: all workers, and forty scrapes, some of which may fail."""

OF_PROMETHEUS = {"up"}
"""Series of Prometheus itself, which no worker exports."""

NEED_NO_PANEL = {
    "gateway_dead_letters_total",
    "process_virtual_memory_bytes",
    "gateway_build_info",
}

MAY_BE_NOTHING = {
    "Workers missing", "Not read yet", "Lag by partition", "Lag, and what is read, by worker",
    "Streams that wait for a replay", "Partitions that are not read",
    "Exceptions contained, by part", "Requests sent to their shard",
    "Topics: read, skipped, missing",
}  # fmt: skip
"""Panels with a query that may be 0 on a healthy worker."""


def queries() -> Iterator[tuple[str, str]]:
    """Yield each panel's title with each of its queries as sent to Prometheus."""
    for panel in PANELS:
        for target in panel["targets"]:
            query = target["expr"]
            for name, value in GIVEN.items():
                query = query.replace(name, value)
            yield panel["title"], query


def metrics_of(query: str) -> set[str]:
    return set(re.findall(r"\b(?:gateway|process)_[a-z_]+|\bup\b", query))


def test_the_dashboard_has_the_schema_of_a_supported_grafana() -> None:
    assert 39 <= DASHBOARD["schemaVersion"] <= 42
    assert DASHBOARD["id"] is None, "else it would replace another one"
    assert DASHBOARD["uid"] == "kafka-sse-gateway"
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert list(variables) == ["datasource", "job", "instance"]
    assert variables["datasource"]["type"] == "datasource"
    for name in ("job", "instance"):
        assert variables[name]["datasource"]["uid"] == "${datasource}"
        assert variables[name]["includeAll"]


def test_panels_do_not_overlap() -> None:
    every = DASHBOARD["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    assert len({panel["title"] for panel in every}) == len(every)
    places = [panel["gridPos"] for panel in every]
    assert all(place["x"] + place["w"] <= COLUMNS for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_each_panel_has_title_and_description(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert len(panel["description"]) > 20
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"]["uid"] == "${datasource}"
    assert panel["targets"]
    for target in panel["targets"]:
        assert target["datasource"]["uid"] == "${datasource}"
        for selector in re.findall(r"\{(.*?)\}", target["expr"]):
            assert selector.startswith('job=~"$job", instance=~"$instance"')


def test_no_placeholder_is_left() -> None:
    assert [query for _, query in queries() if "$" in query] == []


async def test_every_query_returns_data(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    require("prometheus")
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(EmbeddedBroker())
        user_topic = NewTopic(TOPICS.user, PARTITIONS, 1)
        await create_topics(broker.bootstrap, [user_topic, NewTopic(TOPICS.broadcast, 1, 1)])
        settings = {"slow_seconds": 0.5, "tail_warm_seconds": 0, "sharding": "redirect"}
        worker = Worker(
            worker_settings(TOPICS, kafka_bootstrap=broker.bootstrap, **settings),
            tmp_path / "worker.log",
        )
        stack.callback(worker.end)
        use_worker(request, worker)
        await worker.wait_until_ready()
        prometheus = await stack.enter_async_context(
            Prometheus([f"127.0.0.1:{worker.ops_port}"], tmp_path)
        )

        begin = time.time()
        producer = await stack.enter_async_context(
            AIOKafkaProducer(bootstrap_servers=broker.bootstrap)
        )
        await let_everything_happen(worker, prometheus, RecordWriter(producer, TOPICS))
        end = time.time()

        exported = await names(prometheus)
        shown: set[str] = set()
        for title, query in queries():
            assert metrics_of(query) <= exported | OF_PROMETHEUS, title
            shown |= metrics_of(query)
            found = await prometheus.query_range(query, begin, end, step=0.5)
            values = [float(value) for series in found for _, value in series["values"]]
            least = -1 if title in MAY_BE_NOTHING else 0
            assert any(value > least for value in values), f"{title}: {query}: {values}"
        families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
        kept = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported}
        assert kept - families == NEED_NO_PANEL, "the counters of the worker are scraped"


async def names(prometheus: Prometheus) -> set[str]:
    """Return the metrics of the worker as Prometheus stores them."""
    found: list[str] = await prometheus.get("label/__name__/values")
    return {
        name
        for name in found
        if name.startswith(("gateway_", "process_")) and not name.endswith("_created")
    }


async def let_everything_happen(
    worker: Worker, prometheus: Prometheus, write: RecordWriter
) -> None:
    """Cause the activity of each panel; return when Prometheus scraped it.

    The replay is of a log without a reader when its client left, so that no memory serves it.
    """
    at = partitioner("murmur2")
    away = next(name for name in map(str, range(100)) if at(name.encode(), PARTITIONS) == 1)
    here = next(name for name in map(str, range(100)) if at(name.encode(), PARTITIONS) == 0)
    stuck = next(name for name in map(str, range(9)) if at(name.encode(), PARTITIONS) == 2)
    since = [("since", str(int(time.time() * 1000) - 60_000))]
    await write.numbered(away, range(20))
    async with (
        StreamClient(worker.events_url, mint(here)) as reader,
        StreamClient(worker.events_url, mint(stuck)) as idler,
        StreamClient(worker.events_url, mint(away)) as returner,
        StreamClient(worker.events_url, mint("stranger")) as stranger,
        aiohttp.ClientSession() as http,
    ):
        await reader.connect()
        await idler.connect()
        await reader.wait_for(lambda client: client.last_event_id)
        await idler.wait_for(lambda client: client.last_event_id)
        idler.stall()
        await returner.connect(since)
        await stranger.connect(headers={"Last-Event-ID": "of another server"})
        await returner.wait_for(20)
        await stranger.wait_for(lambda client: client.own("gap"))
        for number in range(4):
            await write.record(here.encode(), b"no JSON")
            await write.event(here, "unheard.of")
            await write.record(b"moved", numbered(number), partition=at(b"moved", PARTITIONS) ^ 1)
        for _ in range(40):
            await write.event(stuck, data=b'"%s"' % (b"x" * 60_000))

        async def seen() -> bool:
            # The counter of a reason starts with its first request, and a rate needs two values.
            async with http.get(worker.events_url, headers=bearer("no token")) as response:
                assert response.status == 401
            await write.event(here)
            found = await prometheus.query('sum(gateway_closes_total{reason="slow"})')
            return bool(found) and float(found[0]["value"][1]) > 0

        await eventually("the client that does not read is ended", seen)
        scraped = await worker.metric("gateway_loop_delay_seconds_count")

        async def scraped_again() -> bool:
            async with http.get(worker.events_url, headers=bearer("no token")):
                pass
            await write.event(here)
            found = await prometheus.query("sum(gateway_loop_delay_seconds_count)")
            return bool(found) and float(found[0]["value"][1]) > scraped + 15

        await eventually("there are values from before and after", scraped_again)
