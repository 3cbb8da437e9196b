"""Publishing of events by shell commands.

An event is passed in the environment (`EVENT_TYPE`, `EVENT_DATA`, `EVENT_USER`), and its data also
on standard input. The command text never contains event data: no quoting is needed, and data
cannot become a command.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import suppress
from typing import Protocol, Self

from gateway.errors import ConformanceError

COMMAND_SECONDS = 20.0
"""Time limit of a command; a Python program needs up to 2 s to start on a busy machine."""

MAX_VARIABLE_BYTES = 100_000
"""Limit of data in the environment: Linux allows 128 KiB per variable. Stdin is unlimited."""


class Publish(Protocol):
    """Publishes events. Raises `ConformanceError` if that fails."""

    async def __call__(self, event_type: str, data: str) -> None:
        """Publish one event."""


class Commands:
    """Publishes by two commands: `each` runs once for every event, `lines` runs permanently.

    `lines` reads one line of JSON for each event: `event_type`, `data`, and `user_id` if a user is
    given. Data that contains line breaks or is not JSON goes to `each`. An async context manager
    that ends the process it started.
    """

    def __init__(self, each: str | None, lines: str | None, user: str | None) -> None:
        self._each = each
        self._lines = lines
        self._user = user
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            await _end(self._process, COMMAND_SECONDS)

    async def __call__(self, event_type: str, data: str) -> None:
        """Publish one event; a line is not confirmed."""
        if self._lines is not None and _is_line(data):
            await self._write_line(self._lines, event_type, data)
        elif self._each is not None:
            variables = {"EVENT_TYPE": event_type, "EVENT_USER": self._user or ""}
            if len(data.encode()) <= MAX_VARIABLE_BYTES:
                variables["EVENT_DATA"] = data
            await run_command(self._each, data, variables)
        else:
            raise ConformanceError("this event does not fit into a line: give --publish too")

    async def _write_line(self, command: str, event_type: str, data: str) -> None:
        user = {} if self._user is None else {"user_id": self._user}
        # `data` is inserted unchanged: spaces and characters must reach the client as they are.
        head = json.dumps({**user, "event_type": event_type})[:-1]
        if self._process is None:
            self._process = await asyncio.create_subprocess_shell(
                command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        stdin = self._process.stdin
        assert stdin is not None
        try:
            if self._process.returncode is not None:
                raise ConnectionResetError
            stdin.write(f'{head}, "data": {data}}}\n'.encode())
            await stdin.drain()
        except ConnectionError:
            raise ConformanceError("the command of --publish-lines ended") from None


def _is_line(data: str) -> bool:
    if "\n" in data or "\r" in data:
        return False
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


async def run_command(
    command: str, stdin: str = "", variables: dict[str, str] | None = None
) -> None:
    """Run a shell command. Raises `ConformanceError` if it fails or exceeds its time limit."""
    process = await asyncio.create_subprocess_shell(
        command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(variables or {})},
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(COMMAND_SECONDS):
            _, output = await process.communicate(stdin.encode())
    except TimeoutError:
        raise ConformanceError(f"not done within {COMMAND_SECONDS:g} s: {command}") from None
    finally:
        await _end(process, 0)
    if process.returncode:
        line = (output.decode(errors="replace").strip().splitlines() or ["no output"])[-1]
        raise ConformanceError(f"exit code {process.returncode} of {command}: {line}")


async def _end(process: asyncio.subprocess.Process, patience: float) -> None:
    """Wait for a process; kill its process group after `patience` seconds."""
    if process.returncode is not None:
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(patience):
            await process.wait()
            return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
