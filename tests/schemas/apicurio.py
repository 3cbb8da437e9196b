"""Apicurio Registry as a process, with its storage in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from tests.child import Child, free_port
from tests.eventually import DEADLINE, eventually
from tests.programs import require
from tests.worker import status
from tests.writers.fetched import schema_registry_jar

START_SECONDS = 2 * DEADLINE
"""It takes 6 s of CPU."""


@asynccontextmanager
async def apicurio(folder: Path) -> AsyncIterator[str]:
    """Run a registry; yield its URL, below which `/apis/ccompat/v7` is Confluent's API."""
    require("java", "mvn", "tar")
    jar = await asyncio.to_thread(schema_registry_jar)
    port = free_port()
    options = ["-Xmx512m", "-XX:TieredStopAtLevel=1", "-Dquarkus.http.host=127.0.0.1"]
    storage = ["-Dapicurio.storage.kind=sql", "-Dapicurio.storage.sql.kind=h2"]
    command = ["java", *options, f"-Dquarkus.http.port={port}", *storage, "-jar", str(jar)]
    url = f"http://127.0.0.1:{port}"
    child = Child(command, folder / "registry.log")
    try:
        async with aiohttp.ClientSession() as http:

            async def ready() -> bool:
                assert child.exit_code is None, child.log()
                return await status(http, f"{url}/apis/ccompat/v7/subjects") == 200

            await eventually("the registry answers", ready, START_SECONDS)
        yield url
    finally:
        child.kill()
