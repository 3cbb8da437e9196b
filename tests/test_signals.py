"""`gateway serve` as a process whose Kafka is away: signals, and standard streams."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.child import free_port
from tests.eventually import DEADLINE, eventually
from tests.tokens import SECRET
from tests.worker import Worker, status


@contextmanager
def running(output: Path, **settings: str) -> Iterator[Worker]:
    worker = Worker(
        {
            "GATEWAY_JWT_SECRET": SECRET,
            "GATEWAY_KAFKA_BOOTSTRAP": f"127.0.0.1:{free_port()}",
            **settings,
        },
        output,
    )
    try:
        yield worker
    finally:
        worker.kill()


async def logged(worker: Worker, event: str) -> dict[str, object]:
    """Wait for the first log line whose event begins with this text, and return it."""

    def found() -> list[dict[str, object]]:
        assert worker.exit_code is None, f"the worker ended:\n{worker.log()}"
        whole, _, _ = worker.log().rpartition("\n")
        lines = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
        return [line for line in lines if str(line["event"]).startswith(event)]

    await eventually(f"{event} is logged", lambda: bool(found()))
    return found()[0]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2], ids=lambda it: it.name)
async def test_signal_without_a_meaning_is_logged_and_ignored(
    tmp_path: Path, number: signal.Signals
) -> None:
    with running(tmp_path / "log") as worker:
        await logged(worker, "listening")
        worker.signal(number)
        line = await logged(worker, "signal ignored")
        assert line["signal"] == number.name
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0


async def test_second_signal_stops_at_once_and_both_are_announced(tmp_path: Path) -> None:
    with running(tmp_path / "log") as worker:
        await logged(worker, "listening")
        worker.signal(signal.SIGINT)
        worker.signal(signal.SIGINT)
        assert worker.wait() == 0
        assert "a second signal stops at once" in worker.log()


def serve(*prefix: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start a worker by a shell command that `prefix` begins, without the ports of others."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")},
        "GATEWAY_JWT_SECRET": SECRET,
        "GATEWAY_KAFKA_BOOTSTRAP": f"127.0.0.1:{free_port()}",
        "GATEWAY_LISTEN": f"127.0.0.1:{free_port()}",
        **options.pop("settings"),
    }
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "gateway", "serve"], env=environment, **options
    )


async def answers(http: aiohttp.ClientSession, port: int) -> None:
    async def healthy() -> bool:
        return await status(http, f"http://127.0.0.1:{port}/healthz") == 200

    await eventually("/healthz answers", healthy)


async def test_closed_standard_streams_do_not_keep_it_from_running(
    http: aiohttp.ClientSession,
) -> None:
    port = free_port()
    settings = {"GATEWAY_OPS_LISTEN": f"127.0.0.1:{port}"}
    process = serve("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", settings=settings)
    try:
        await answers(http, port)
        process.terminate()
        assert process.wait(DEADLINE) == 0
    finally:
        process.kill()
        process.wait()


async def test_reader_of_the_log_that_stalls_does_not_stall_the_worker(
    http: aiohttp.ClientSession,
) -> None:
    """More lines than a pipe holds, without a reader."""
    port = free_port()
    settings = {"GATEWAY_OPS_LISTEN": f"127.0.0.1:{port}", "GATEWAY_LOG_FORMAT": "json"}
    process = serve(settings=settings, stderr=subprocess.PIPE)
    try:
        await answers(http, port)
        for _ in range(1_000):
            process.send_signal(signal.SIGHUP)
            await answers(http, port)
        process.terminate()
        assert process.wait(DEADLINE) == 0
    finally:
        process.kill()
        process.communicate()
