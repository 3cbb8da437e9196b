"""Helper processes of the bench, which exchange lines of JSON with it.

Clients and producers run in separate processes, so their CPU and delays are not attributed to the
worker. A helper ends at the end of its standard input, so no helper outlives the bench.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

import msgspec

ROOT = Path(__file__).parents[3]

LINE_LIMIT = 1 << 20
"""Maximum bytes of one answer; a tally of 100 s of latencies has about 10 KB."""

Message = TypeVar("Message")


class Helper:
    """A helper process, on the side of the bench."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self._process = process
        self._name = name

    @property
    def pid(self) -> int:
        return self._process.pid

    async def answer(self, kind: type[Message]) -> Message:
        """Return the next message. Raises `RuntimeError` if the helper ended; see its stderr."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the helper {self._name} has ended")
        return msgspec.json.decode(line, type=kind)

    async def ask(self, message: object, kind: type[Message]) -> Message:
        """Send a message and return the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(message) + b"\n")
        return await self.answer(kind)


@asynccontextmanager
async def helper(
    name: str, *arguments: object, package: str = __package__
) -> AsyncIterator[Helper]:
    """Run a module of a package; kill the process at the end, as it is stateless."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"{package}.{name}", *map(str, arguments)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_LIMIT,
        cwd=ROOT,
    )
    try:
        yield Helper(process, name)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def questions() -> AsyncIterator[bytes]:
    """Yield, inside a helper, each line of the bench until its end."""
    while line := await asyncio.to_thread(sys.stdin.buffer.readline):
        yield line


def say(message: object) -> None:
    """Send a message to the bench from inside a helper."""
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()
