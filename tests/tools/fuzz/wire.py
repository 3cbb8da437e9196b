"""A live worker under hostile connections, while a well-behaved client loses no event."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

import aiohttp
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from gateway.demo.broker import EmbeddedBroker
from tests.brokers.metadata import create_topics
from tests.client import StreamClient
from tests.conftest import worker_settings
from tests.eventually import DEADLINE, eventually
from tests.records import RecordWriter, Topics
from tests.tokens import bearer, mint
from tests.tools.fuzz.attack import Attack
from tests.tools.fuzz.hostile import OPS_TOKEN
from tests.tools.fuzz.report import Finding, Tried
from tests.worker import Worker

EVENT_SECONDS = 0.05
"""Seconds between two events of the canary."""

WARM_SHARE = 0.2
"""The part of a run that warms up memory."""

CLOSE_SECONDS = DEADLINE
"""Longer than the worker's limit for a request head (`HEAD_SECONDS`)."""

MOST_LINES, LINES_A_SECOND = 200, 10
MORE_FILES = 8
MORE_BYTES = 64 << 20

TOPICS = Topics("user-events", "broadcast-events", "gateway-revocations")
CANARY = "canary"

_LOGGED = re.compile(r"Traceback|Unhandled|\"level\": ?\"(error|critical)\"", re.IGNORECASE)


class Outcome(NamedTuple):
    """The result of a run."""

    rows: tuple[Tried, Tried]
    """Outcomes of the public and the operations listener."""
    written: int
    """Events written for the canary; a missing one is a finding."""
    statuses: dict[int, int]
    more_files: int
    more_bytes: int


class Usage(NamedTuple):
    """Resources of a process."""

    files: int
    resident: int

    @classmethod
    def of(cls, pid: int) -> Self:
        """Return the resources from `/proc`."""
        process = Path("/proc") / str(pid)
        pages = int((process / "statm").read_text().split()[1])
        return cls(len(list((process / "fd").iterdir())), pages * 4096)


async def run(seed: int, seconds: float, folder: Path, inputs: int | None = None) -> Outcome:
    """Attack both listeners of a worker for seconds, or with a number of inputs each."""
    async with EmbeddedBroker() as broker:
        wanted = [NewTopic(TOPICS.user, 4, 1), NewTopic(TOPICS.broadcast, 1, 1)]
        await create_topics(broker.bootstrap, [*wanted, NewTopic(TOPICS.revocations, 1, 1)])
        settings = worker_settings(
            TOPICS,
            kafka_bootstrap=broker.bootstrap,
            ops_token=OPS_TOKEN,
            heartbeat_seconds=1,
            max_streams_per_user=10_000,
            max_streams_per_address=10_000,
            trusted_proxies="127.0.0.1",
            cors_origins="https://app.example.com",
            token_cookie="token",
            token_query="true",
        )
        worker = Worker(settings, folder / "worker.log")
        try:
            await worker.wait_until_ready()
            async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap) as producer:
                write = RecordWriter(producer, TOPICS)
                return await _attack(worker, write, seed, seconds, inputs)
        finally:
            worker.end()


async def _attack(
    worker: Worker, write: RecordWriter, seed: int, seconds: float, inputs: int | None
) -> Outcome:
    public = Attack("public listener", worker.port, seed, ops=False)
    ops = Attack("operations listener", worker.ops_port, seed, ops=True)
    async with StreamClient(worker.events_url, mint(CANARY)) as canary:
        await canary.connect()
        await canary.wait_for(lambda client: client.last_event_id)
        before = Usage.of(worker.pid)
        began = time.monotonic()
        over = asyncio.Event()
        writing = asyncio.create_task(_write(write, over))
        try:
            # Memory kept since the first requests is not a leak.
            warm = None if inputs is None else round(inputs * WARM_SHARE)
            await _both(public, ops, began + seconds * WARM_SHARE, warm)
            warmed = Usage.of(worker.pid)
            await _both(public, ops, began + seconds, inputs)
        finally:
            over.set()
            written = await writing
        took = time.monotonic() - began
        faults = await _missing(canary, written)
    faults += await _left_behind(worker, before)
    after = Usage.of(worker.pid)
    if after.resident - warmed.resident > MORE_BYTES:
        faults.append(f"{after.resident - warmed.resident:,} bytes more than after the warm-up")
    lasted = time.monotonic() - began
    faults += _logged(worker, public.tried + ops.tried, lasted)
    public.findings += [Finding(b"", fault) for fault in faults]
    return Outcome(
        (public.row(took), ops.row(took)),
        written,
        dict(sorted((public.statuses + ops.statuses).items())),
        after.files - before.files,
        after.resident - warmed.resident,
    )


async def _both(public: Attack, ops: Attack, end: float, inputs: int | None) -> None:
    async with asyncio.TaskGroup() as attacks:
        attacks.create_task(public.run(end, inputs))
        attacks.create_task(ops.run(end, inputs))


async def _write(write: RecordWriter, over: asyncio.Event) -> int:
    """Write the canary's events until the end; return their number."""
    for number in itertools.count():
        if over.is_set():
            return number
        await write.numbered(CANARY, [number])
        await asyncio.sleep(EVENT_SECONDS)
    raise AssertionError("numbers are endless")


async def _missing(canary: StreamClient, written: int) -> list[str]:
    """Wait for the last event and return the faults of the canary."""
    with suppress(AssertionError):
        await canary.wait_for(written)
    if not canary.is_open:
        return ["the canary's stream ended"]
    if canary.numbers != list(range(written)) or len(canary.events) != written:
        return [f"the canary had {len(canary.numbers)} events of {written}, or not in order"]
    return []


async def _left_behind(worker: Worker, before: Usage) -> list[str]:
    """Return resources that closed connections still hold."""
    faults = []
    async with aiohttp.ClientSession(headers=bearer(OPS_TOKEN)) as http:

        async def closed() -> bool:
            async with http.get(f"{worker.ops_url}/metrics") as response:
                return "\ngateway_streams_open 0.0\n" in await response.text()

        async def let_go() -> bool:
            return Usage.of(worker.pid).files <= before.files + MORE_FILES

        for what, condition in (
            ("gateway_streams_open is 0", closed),
            ("files are closed", let_go),
        ):
            try:
                await eventually(what, condition, CLOSE_SECONDS)
            except AssertionError as error:
                faults.append(str(error))
    return faults


def _logged(worker: Worker, tried: int, seconds: float) -> list[str]:
    """Return unwanted log lines; clients must not be able to fill a log.

    Rejected requests are logged once a second for each cause.
    """
    lines = worker.log().splitlines()
    faults = [line[:300] for line in lines if _LOGGED.search(line)]
    if worker.exit_code is not None:
        faults.append(f"the worker ended: {lines[-3:]}")
    if len(lines) > MOST_LINES + tried // 50 + LINES_A_SECOND * seconds:
        faults.append(f"{len(lines)} lines in the log, such as {lines[-1][:300]}")
    return faults[:20]
