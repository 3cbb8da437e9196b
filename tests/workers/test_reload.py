"""SIGHUP replaces the workers, or changes nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from tests.conftest import MakeTopics, StartWorker
from tests.eventually import eventually
from tests.integration.conftest import OpenStream
from tests.records import RecordWriter
from tests.workers.followers import (
    PARTITIONS,
    all_have_some,
    all_received,
    followers,
    pid_of,
    until_up,
    write_until,
)


async def test_sighup_replaces_the_workers_and_no_client_loses_an_event(
    topics: MakeTopics, start_worker: StartWorker, producer: AIOKafkaProducer, tmp_path: Path
) -> None:
    served = await topics(PARTITIONS)
    config = tmp_path / "gateway.toml"
    config.write_text("retry_ms = 1234\n", encoding="utf-8")
    worker = await start_worker(
        served, workers=2, sharding="handover", drain_seconds=1, arguments=("--config", config)
    )
    await until_up(worker)
    former = [pid_of(worker, slot) for slot in (0, 1)]
    write = RecordWriter(producer, served)
    async with followers(worker, 10) as found:
        assert all(617 <= (follower.client.retry or 0) <= 1851 for follower in found)
        stop = asyncio.Event()
        writing = asyncio.create_task(write_until(stop, write, found))
        await all_have_some(found)
        config.write_text("retry_ms = 4321\n", encoding="utf-8")
        worker.signal(signal.SIGHUP)
        await worker.wait_for_entries("all workers are replaced")
        assert not {pid_of(worker, slot) for slot in (0, 1)} & set(former)
        stop.set()
        await all_received(found, await writing)
        await eventually(
            "each client has reconnected", lambda: all(each.connections > 1 for each in found)
        )
    async with followers(worker, 4) as found:
        assert all(2160 <= (follower.client.retry or 0) <= 6482 for follower in found)
    assert worker.entries("worker died; it is restarted") == []


async def test_a_reload_that_fails_at_a_later_worker_names_those_that_it_replaced(
    topics: MakeTopics, start_worker: StartWorker, tmp_path: Path
) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text("workers = 2\n", encoding="utf-8")
    worker = await start_worker(await topics(2), arguments=("--config", config))
    await until_up(worker)
    partly = "settings applied to some workers only; send SIGHUP again for the others"
    for attempt in range(1, 6):
        # The second replacement is killed before it accepts clients; another attempt is made if
        # that was too late.
        started = len(worker.entries("worker started"))
        worker.signal(signal.SIGHUP)
        (*_, line) = await worker.wait_for_entries("worker started", started + 2)
        assert line["slot"] == 1
        os.kill(line["pid"], signal.SIGKILL)

        async def told(attempt: int = attempt) -> bool:
            applied = len(worker.entries("all workers are replaced"))
            return bool(worker.entries(partly)) or applied >= attempt

        await eventually("the reload ends", told)
        if worker.entries(partly):
            break
        await until_up(worker)
    (line,) = worker.entries(partly)
    assert (line["replaced"], line["not_replaced"]) == ([0], [1])
    assert line["reason"] == "the new worker ended at its start; see its log"
    assert worker.entries("settings not applied; the former ones stay in force") == []
    await until_up(worker)
    worker.signal(signal.SIGHUP)
    await worker.wait_for_entries("all workers are replaced")
    await until_up(worker)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("retry_ms = -1\n", "GATEWAY_RETRY_MS: Input should be greater than or equal to 0"),
        ("retry_ms = \n", "is not valid TOML"),
        ("kafka_ssl_cafile = '/nowhere.pem'\nkafka_security_protocol = 'SSL'\n", "/nowhere.pem"),
        ("workers = 3\n", "GATEWAY_WORKERS cannot change while the supervisor runs"),
    ],
    ids=["value", "toml", "file", "fixed"],
)
async def test_invalid_settings_change_nothing_and_are_reported_in_one_line(
    topics: MakeTopics,
    start_worker: StartWorker,
    open_stream: OpenStream,
    tmp_path: Path,
    user: str,
    text: str,
    reason: str,
) -> None:
    served = await topics(2)
    config = tmp_path / "gateway.toml"
    config.write_text("workers = 2\n", encoding="utf-8")
    worker = await start_worker(served, arguments=("--config", config))
    await until_up(worker)
    client = await open_stream(worker, user)
    former = [pid_of(worker, slot) for slot in (0, 1)]
    config.write_text(text if "workers" in text else f"workers = 2\n{text}", encoding="utf-8")
    worker.signal(signal.SIGHUP)
    (line,) = await worker.wait_for_entries("settings not applied; the former ones stay in force")
    assert reason in line["reason"]
    assert "\n" not in line["reason"]
    await until_up(worker)
    assert client.is_open
    for pid in former:
        os.kill(pid, 0)  # it runs
