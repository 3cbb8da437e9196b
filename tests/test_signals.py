"""Signals to `gateway serve`, as a process whose Kafka is away."""

from __future__ import annotations

import json
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.child import free_port
from tests.eventually import eventually
from tests.tokens import SECRET
from tests.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
    """Return the first log line whose event begins so, once it is there."""

    def found() -> list[dict[str, object]]:
        assert worker.exit_code is None, f"the worker ended:\n{worker.log()}"
        lines = [json.loads(line) for line in worker.log().splitlines() if line.startswith("{")]
        return [line for line in lines if str(line["event"]).startswith(event)]

    async def there() -> bool:
        return bool(found())

    await eventually(f"{event} is logged", there, 20)
    return found()[0]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1], ids=lambda it: it.name)
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
