"""The command against a worker process, with `gateway publish` as publisher."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from gateway.conformance.case import load_cases
from gateway.core.event_id import CursorEntry, encode
from gateway.core.records import LogKind, OffsetPosition
from gateway.demo.broker import EmbeddedBroker
from tests.commands.command import gateway, settings_of
from tests.conftest import Broker, make_topics, use_worker, worker_settings
from tests.tokens import mint
from tests.worker import Worker

PROGRAM = f"{sys.executable} -m gateway publish"

OTHER_TOPIC = CursorEntry(
    LogKind.USER, b"\0\0\0\0", 0, OffsetPosition(5, time.time_ns() // 1_000_000, False)
)
"""A position in a topic that was deleted."""


async def test_a_worker_passes_every_case(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    async with EmbeddedBroker() as embedded:
        broker = Broker("embedded", embedded.bootstrap)
        topics = await make_topics(broker)
        settings = worker_settings(
            topics, kafka_bootstrap=broker.bootstrap, heartbeat_seconds=1, drain_seconds=1
        )
        worker = Worker(settings, tmp_path / "log")
        use_worker(request, worker)
        try:
            await worker.wait_until_ready()
            finished = await gateway(
                *("conformance", worker.events_url, "--json", "--token", mint("alice")),
                *("--user", "alice", "--publish-lines", PROGRAM),
                *("--publish", f'{PROGRAM} "$EVENT_USER" "$EVENT_TYPE" "$EVENT_DATA"'),
                *("--publish-noise", f'{PROGRAM} bob "$EVENT_TYPE" "$EVENT_DATA"'),
                *("--type", "import.progress", "--filter", "categories=import"),
                *("--other-type", "sync.accounts.started"),
                *("--expired-id", encode([OTHER_TOPIC]).decode()),
                *("--drain", f"kill -TERM {worker.pid}"),
                *("--heartbeat-seconds", "30", "--slow-seconds", "1", "--quiet-seconds", "0.5"),
                *("--event-seconds", "30"),
                *("--parallel", "8"),
                settings=settings_of(broker, topics),
            )
        finally:
            worker.end()
    found = json.loads(finished.out)["cases"]
    assert [case["case"] for case in found] == [case.id for case in load_cases()]
    assert [case for case in found if case["verdict"] != "pass"] == [
        {**case, "seen": "the event cannot be published"}
        for case in found
        if case["case"] == "empty-data"
    ]
    assert finished.code == 0
