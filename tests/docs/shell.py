"""Lines of the documents run in a shell, with the ports of a test in place of the printed ones."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self

from tests.eventually import DEADLINE


class Shell:
    """Runs scripts in a folder with an environment without other settings of the gateway.

    `ports` maps printed ports to those of the test.
    """

    def __init__(self, folder: Path, ports: Mapping[int, int], environment: Mapping[str, str]):
        self.folder = folder
        self.ports = ports
        self._environment = environment

    def with_(self, **environment: str) -> Self:
        """Return a shell of the same folder with further variables."""
        return type(self)(self.folder, self.ports, {**self._environment, **environment})

    async def run(self, script: str) -> str:
        """Return the output of a script, which has to exit with 0."""
        async with self.started(script) as running:
            out = await running.rest()
        assert running.code == 0, f"{script}\nexit code {running.code}\n{out}"
        return out

    async def interrupt(self, script: str, first: str, code: int) -> None:
        """Run a script until it prints a match of `first`; SIGINT has to end it with `code`."""
        async with self.started(script) as running:
            await running.until(first)
            running.signal(signal.SIGINT)
            out = await running.rest()
        assert running.code == code, f"{script}\nexit code {running.code}\n{out}"

    @asynccontextmanager
    async def started(self, script: str) -> AsyncIterator[Running]:
        """Start a script in a new session; the end of the block kills both."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", self.local(script)),
            cwd=self.folder,
            env={**inherited, "PATH": path, "COLUMNS": "200", **self._environment},
            stdin=subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield Running(process, script)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    def local(self, text: str) -> str:
        """Return a printed text with the ports of the test."""
        return re.sub(r"\b\d{4}\b", self._port, text)

    def _port(self, number: re.Match[str]) -> str:
        return str(self.ports.get(int(number[0]), number[0]))


class Running:
    """A script that runs."""

    def __init__(self, process: asyncio.subprocess.Process, script: str) -> None:
        self._process = process
        self._script = script
        self._out = b""

    @property
    def out(self) -> str:
        """What it has printed so far, as far as a method has read it."""
        return self._out.decode(errors="replace")

    @property
    def code(self) -> int | None:
        return self._process.returncode

    async def until(self, pattern: str) -> re.Match[bytes]:
        """Return the first match in the output."""
        async with self._in_time(pattern):
            while (found := re.search(pattern.encode(), self._out, re.MULTILINE)) is None:
                assert await self._read(), f"{self._script}\nended without {pattern!r}:\n{self.out}"
        return found

    async def rest(self) -> str:
        """Return the whole output when the script has ended."""
        async with self._in_time("its end"):
            while await self._read():
                pass
            await self._process.wait()
        return self.out

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the script and its programs, as a terminal does."""
        os.killpg(self._process.pid, number)

    async def _read(self) -> bytes:
        assert self._process.stdout is not None
        piece = await self._process.stdout.read(65536)
        self._out += piece
        return piece

    @asynccontextmanager
    async def _in_time(self, what: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(DEADLINE):
                yield
        except TimeoutError:
            raise AssertionError(f"{self._script}\nlacks {what!r}:\n{self.out}") from None
