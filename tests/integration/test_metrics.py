"""Metrics as Prometheus takes them: well formed, and as many whatever clients and producers do."""

from __future__ import annotations

import asyncio
import itertools
import platform

import aiohttp
from aiokafka import AIOKafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from gateway import __version__
from gateway.core.admission import Refusal
from gateway.core.gap import CloseReason, GapReason
from gateway.core.observer import Path
from gateway.core.records import LogKind, UnreadableReason
from gateway.errors import HttpError, TokenFault
from gateway.supervise import Part
from tests.conftest import PARTITIONS, MakeTopics, StartWorker
from tests.eventually import eventually
from tests.integration.conftest import OpenStream, new_user
from tests.programs import require
from tests.records import RecordWriter
from tests.tokens import bearer, mint
from tests.worker import Worker

CLOSED = {
    "result": {"written", "discarded"},
    "path": set(map(str, Path)),
    "reason": {
        *map(str, itertools.chain(GapReason, CloseReason, UnreadableReason, Refusal, TokenFault)),
        *(error.reason for error in HttpError.__subclasses__() if error.reason),
    },
    "version": {__version__},
    "python": {platform.python_version()},
    "part": set(map(str, Part)),
    "kind": set(map(str, LogKind)),
    "partition": set(map(str, range(PARTITIONS))),
}
"""Every label but `topic` and a histogram's bounds, with all values that it may have."""


async def exposition(worker: Worker, http: aiohttp.ClientSession) -> str:
    async with http.get(f"{worker.ops_url}/metrics") as response:
        assert response.status == 200
        return await response.text()


async def test_promtool_finds_nothing_to_object_to(
    worker: Worker, http: aiohttp.ClientSession
) -> None:
    require("promtool")
    text = await exposition(worker, http)
    process = await asyncio.create_subprocess_exec(
        *("promtool", "check", "metrics"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    found, _ = await process.communicate(text.encode())
    assert found.decode() == ""
    assert process.returncode == 0


async def test_the_process_and_the_loop_are_measured(
    worker: Worker, http: aiohttp.ClientSession
) -> None:
    assert await worker.metric("gateway_info", version=__version__) == 1
    assert await worker.metric("process_resident_memory_bytes") > 10_000_000
    assert await worker.metric("process_cpu_seconds_total") > 0
    assert await worker.metric("process_open_fds") > 3
    assert await worker.metric("gateway_connections_open") >= await worker.metric(
        "gateway_streams_open"
    )
    looked = await worker.metric("gateway_loop_delay_seconds_count")

    async def again() -> bool:
        return await worker.metric("gateway_loop_delay_seconds_count") > looked

    await eventually("the loop is looked at again", again)


async def test_no_client_or_producer_makes_a_label_or_a_line_more(
    topics: MakeTopics,
    start_worker: StartWorker,
    producer: AIOKafkaProducer,
    open_stream: OpenStream,
    http: aiohttp.ClientSession,
    user: str,
) -> None:
    served = await topics()
    worker, write = await start_worker(served), RecordWriter(producer, served)
    client = await open_stream(worker, user)
    for number in range(8):
        mark = f"mischief{number}"
        for path in (
            f"/{mark}",
            f"/api/v1/events?categories={mark}",
            f"/api/v1/events?since={mark}",
        ):
            async with http.get(worker.url + path, headers=bearer(mint(mark))):
                pass
        async with http.get(worker.events_url, headers={"Authorization": f"Bearer {mark}"}):
            pass
        async with http.request(mark.upper(), worker.events_url):
            pass
        await open_stream(worker, new_user(), headers={"Last-Event-ID": mark})
        await write.record(user.encode(), mark.encode())
        await write.record(
            mark.encode(), b"{}", headers=[(mark, b"x"), ("category", mark.encode())]
        )
        await write.event(user, f"{mark}.type")
    await client.wait_for(8)

    text = await exposition(worker, http)

    assert "mischief" not in text.lower()
    read = await worker.metric("gateway_records_read_total")
    assert read >= 16, "of logs with streams"
    closed = {**CLOSED, "topic": {served.user, served.broadcast}}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            for label, value in sample.labels.items():
                if label != "le":
                    assert value in closed[label], sample
    assert len(text.splitlines()) < 270
