"""The program `gateway` run to its end, as a person or a script runs it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from typing import NamedTuple

from tests.conftest import Broker
from tests.eventually import DEADLINE
from tests.records import Topics


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
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    try:
        async with asyncio.timeout(2 * DEADLINE):
            out, err = await process.communicate(stdin)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Finished(process.returncode, out.decode(), err.decode())


def settings_of(broker: Broker, topics: Topics) -> dict[str, str]:
    """Return the settings of a worker that serves these topics, as `gateway` takes them."""
    return {
        "kafka_bootstrap": broker.bootstrap,
        "topic": topics.user,
        "broadcast_topic": topics.broadcast,
        "revocations_topic": topics.revocations,
        "workers_topic": topics.workers,
    }
