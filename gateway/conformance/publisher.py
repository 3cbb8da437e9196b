"""How the suite makes events appear: by shell commands that it is given.

Nothing is put into a command's text, so nothing has to be quoted: an event is in the command's
environment, as `EVENT_TYPE`, `EVENT_DATA` and `EVENT_USER`, and its data is on standard input too.
What a shell takes from a variable it does not read as a command again.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, Self

from gateway.errors import ConformanceError

if TYPE_CHECKING:
    from types import TracebackType

COMMAND_SECONDS = 20.0
"""How long a command may take; a Python program on a busy machine takes one or two to begin."""

MAX_VARIABLE_BYTES = 100_000
"""Of data in the environment: Linux takes 128 KiB in one variable. Standard input has it all."""


class Publish(Protocol):
    """Makes an event appear. Raises `ConformanceError` where it cannot."""

    async def __call__(self, event_type: str, data: str) -> None:
        """Publish one event."""


class Commands:
    """Publishes by `each`, which runs for every event, and by `lines`, which runs for all of them.

    `lines` reads a line of JSON for each event: `event_type`, `data`, and `user_id` where there is
    a user. Data in which lines break, or that is no JSON, goes to `each` alone. An async context
    manager: it ends what it started.
    """

    def __init__(self, each: str | None, lines: str | None, user: str | None) -> None:
        self._each = each
        self._lines = lines
        self._user = user
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            await _end(self._process, COMMAND_SECONDS)

    async def __call__(self, event_type: str, data: str) -> None:
        """Publish one event; without a confirmation where it is a line."""
        if self._lines is not None and _is_line(data):
            await self._write_line(self._lines, event_type, data)
        elif self._each is not None:
            variables = {"EVENT_TYPE": event_type, "EVENT_USER": self._user or ""}
            if len(data.encode()) <= MAX_VARIABLE_BYTES:
                variables["EVENT_DATA"] = data
            await run_command(self._each, data, variables)
        else:
            raise ConformanceError("this event does not fit into a line; it needs --publish")

    async def _write_line(self, command: str, event_type: str, data: str) -> None:
        user = {} if self._user is None else {"user_id": self._user}
        # `data` as it stands, so that its spaces and its characters reach the client.
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
            raise ConformanceError("the command of --publish-lines has ended") from None


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
    """Run a shell command to its end. Raises `ConformanceError` where it fails, or takes long."""
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
            _, said = await process.communicate(stdin.encode())
    except TimeoutError:
        raise ConformanceError(f"not done within {COMMAND_SECONDS:g} s: {command}") from None
    finally:
        await _end(process, 0)
    if process.returncode:
        line = (said.decode(errors="replace").strip().splitlines() or ["it says nothing"])[-1]
        raise ConformanceError(f"exit code {process.returncode} of {command}: {line}")


async def _end(process: asyncio.subprocess.Process, patience: float) -> None:
    """Wait for a process, and kill it and what it started where it takes too long."""
    if process.returncode is not None:
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(patience):
            await process.wait()
            return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
