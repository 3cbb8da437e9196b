"""The programs in Node."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import gateway
from tests.javascript.packages import packages
from tests.javascript.site import PROGRAMS

CLIENT = Path(gateway.__file__).parent / "http" / "static" / "client.js"

Seen = list[dict[str, Any]]


class InNode:
    def __init__(self) -> None:
        self.lines: Seen = []

    async def seen(self) -> Seen:
        return self.lines

    async def read(self, stdout: asyncio.StreamReader) -> None:
        async for line in stdout:
            self.lines.append(json.loads(line))


async def lay_out(folder: Path) -> None:
    """Put into a folder what the programs need, and `client.mjs`."""
    shutil.copytree(PROGRAMS, folder)
    (folder / "node_modules").symlink_to(await packages())
    shutil.copy(CLIENT, folder / "client.mjs")


@asynccontextmanager
async def node(name: str, settings: dict[str, Any], folder: Path) -> AsyncIterator[InNode]:
    """Run a client in Node, until the block ends; the folder must be new."""
    await lay_out(folder)
    process = await asyncio.create_subprocess_exec(
        *("node", "run.mjs", name, json.dumps({**settings, "client": "./client.mjs"})),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    running = InNode()
    reading = asyncio.create_task(running.read(process.stdout))
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading
