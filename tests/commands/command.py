"""The program `gateway` run to its end, as a person or a script runs it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from tempfile import TemporaryFile
from typing import IO, NamedTuple

from tests.conftest import Broker
from tests.eventually import DEADLINE
from tests.records import Topics
from tests.template import Process, start


class Finished(NamedTuple):
    code: int
    out: str
    err: str


async def gateway(
    *arguments: str,
    stdin: bytes = b"",
    settings: Mapping[str, str] | None = None,
) -> Finished:
    """Run a command with `settings`, given without their prefix, in lower case.

    No setting of the environment that the tests run in reaches it.
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")
    }
    for name, value in (settings or {}).items():
        environment[f"GATEWAY_{name.upper()}"] = value
    environment["COLUMNS"] = "200"
    read, write = os.pipe()
    with TemporaryFile() as out, TemporaryFile() as err, os.fdopen(write, "wb") as pipe:
        with os.fdopen(read, "rb") as given:
            command = [sys.executable, "-m", "gateway", *arguments]
            process = start(command, environment, (given, out, err))
        try:
            code = await asyncio.to_thread(_feed, process, pipe, stdin)
        finally:
            process.send_signal(signal.SIGKILL)
        out.seek(0)
        err.seek(0)
        return Finished(code, out.read().decode(), err.read().decode())


def _feed(process: Process, pipe: IO[bytes], stdin: bytes) -> int:
    with suppress(BrokenPipeError), pipe:
        pipe.write(stdin)
    return process.wait(2 * DEADLINE)


def settings_of(broker: Broker, topics: Topics) -> dict[str, str]:
    """Return the settings of a worker that serves these topics, as `gateway` takes them."""
    return {
        "kafka_bootstrap": broker.bootstrap,
        "topic": topics.user,
        "broadcast_topic": topics.broadcast,
        "revocations_topic": topics.revocations,
        "workers_topic": topics.workers,
    }
