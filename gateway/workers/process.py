"""The supervisor's view of a worker process: start, messages, log and end."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from gateway import clock
from gateway.ops.reporter import rfc3339
from gateway.workers.messages import (
    MAX_MESSAGE,
    Assignment,
    Failed,
    Published,
    Report,
    Siblings,
    Stop,
    decode_for_supervisor,
    encode,
    write_assignment,
)
from gateway.workers.plan import WorkerState

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.log import File

    Received = Callable[[Report | Published], None]

MAX_LINE = 1 << 20
"""Maximum length of a log line in characters; longer lines are split."""

READ_BYTES = 1 << 16

MAX_UNREAD = 1 << 18
"""Bytes of messages that a process has not read, above which it gets no statuses."""


class WorkerProcess:
    """A running worker process, made by `start`; `received` gets its reports and statuses."""

    def __init__(
        self,
        assignment: Assignment,
        process: asyncio.subprocess.Process,
        control: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        log: File,
        received: Received,
    ) -> None:
        self.slot = assignment.slot
        self.name = assignment.name
        self.started = clock.now().monotonic
        self.report: Report | None = None
        self.failure = ""
        """Why the worker could not start, as reported by the worker."""
        self.leaving = False
        """Whether the supervisor has asked it to end."""
        self._process = process
        self._reader, self._writer = control
        self._log = log
        self._json = assignment.settings.log_format == "json"
        self._received = received
        self._tasks = [
            asyncio.create_task(self._read_log(), name=f"log of {self.name}"),
            asyncio.create_task(self._listen(), name=f"messages of {self.name}"),
        ]

    @classmethod
    async def start(cls, assignment: Assignment, log: File, received: Received) -> Self:
        """Start a process with the settings and descriptors of the assignment."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gateway.workers.child", str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                pass_fds=(
                    theirs.fileno(),
                    *assignment.listening,
                    assignment.receiving,
                    *assignment.sending,
                ),
                # Ctrl-C in a terminal signals a whole group: the supervisor passes it on.
                process_group=0,
            )
        with suppress(OSError):  # the process has ended already
            write_assignment(ours, assignment)
        control = await asyncio.open_connection(sock=ours, limit=MAX_MESSAGE)
        return cls(assignment, process, control, log, received)

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def state(self) -> WorkerState:
        """The last reported state."""
        report = self.report
        if report is None or self.leaving:
            return WorkerState(self.slot, self.name, ready=False, up=False)
        return WorkerState(self.slot, self.name, report.ready, report.up, report.reasons)

    def send(self, message: Siblings | Published | Stop) -> None:
        """Send a message; lost if the process has ended, a status also if it does not read."""
        unread = self._writer.transport.get_write_buffer_size()
        if isinstance(message, Published) and unread >= MAX_UNREAD:
            return
        if not self._writer.is_closing():
            self._writer.write(encode(message))

    def end(self) -> None:
        """Ask the process to drain."""
        self.leaving = True
        with suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """End the process at once."""
        self.leaving = True
        with suppress(ProcessLookupError):
            self._process.kill()

    async def wait(self) -> int:
        """Return the exit code once the process has ended and its log is written."""
        code = await self._process.wait()
        await asyncio.wait(self._tasks)
        self._writer.close()
        return code

    async def _listen(self) -> None:
        with suppress(ConnectionError):
            while line := await self._reader.readline():
                message = decode_for_supervisor(line)
                if isinstance(message, Failed):
                    self.failure = message.detail
                    continue
                if isinstance(message, Report):
                    self.report = message
                self._received(message)

    async def _read_log(self) -> None:
        """Forward the process's log lines, each with the worker's name."""
        output = self._process.stdout
        assert output is not None
        rest = b""
        while data := await output.read(READ_BYTES):
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > MAX_LINE:
                lines, rest = [*lines, rest], b""
            if lines:
                texts = [line.decode(errors="replace") for line in lines]
                self._log.write("".join(map(self._named, texts)))
        if rest:
            self._log.write(self._named(rest.decode(errors="replace")))

    def _named(self, line: str) -> str:
        if not self._json:
            return f"{self.name} {line}\n"
        mark = f'"worker": {json.dumps(self.name)}'
        if line.startswith("{") and line.endswith("}"):
            return f"{line}\n" if mark in line else f"{{{mark}, {line[1:]}\n"
        # Output of the interpreter or a library, not of the logger: a fatal error, for example.
        fields = {
            "worker": self.name,
            "event": line,
            "level": "error",
            "timestamp": rfc3339(clock.now().wall),
        }
        return f"{json.dumps(fields)}\n"
