"""Processes of the bench's own, and how they are spoken to: lines of JSON, in and out.

Clients and producers run in processes of their own, so that their time is not taken for that of
the worker, nor their delays for its latency. A helper ends when its standard input does, so none
is left behind, however the bench ends.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[3]

LINE_LIMIT = 1 << 20
"""Bytes of one answer; a tally of 100 s of latencies would have some 10 KB."""

Message = TypeVar("Message")


class Helper:
    """A helper process, seen from the bench."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self._process = process
        self._name = name

    @property
    def pid(self) -> int:
        return self._process.pid

    async def answer(self, kind: type[Message]) -> Message:
        """Return what it says next; `RuntimeError` where it has ended, its reason is on stderr."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the helper {self._name} has ended")
        return msgspec.json.decode(line, type=kind)

    async def ask(self, message: object, kind: type[Message]) -> Message:
        """Say something and return the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(message) + b"\n")
        return await self.answer(kind)


@asynccontextmanager
async def helper(
    name: str, *arguments: object, package: str = __package__
) -> AsyncIterator[Helper]:
    """Run a module of a package; it is killed at the end, since it has nothing to save."""
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
    """Yield, inside a helper, each line that the bench says, until it has gone."""
    while line := await asyncio.to_thread(sys.stdin.buffer.readline):
        yield line


def say(message: object) -> None:
    """Tell the bench something, from inside a helper."""
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()
