"""Logging: one line for each event, as text for a terminal or as JSON for a machine.

No line holds data of a client or producer, unless that data was checked first. The gateway's own
lines are written that way, one by one. Libraries do not follow that rule, so:

- their lines at level `debug`, which quote requests, answers and passwords, are never shown;
- an exception is shown as its type and its traceback, without its text and without the values of
  variables.

A worker writes its log through `Background`: the reader of standard error may stall, as log drivers
of containers do, and the event loop must not wait for it.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import traceback
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, Protocol, Self, TextIO

import structlog

if TYPE_CHECKING:
    from structlog.typing import Processor

MAX_WAITING = 8 << 20
"""Queue limit, about 20,000 lines; further lines are dropped and counted."""

CLOSE_SECONDS = 2.0
"""Longest time that the end of a worker waits for its last log lines to be written."""

DROPPED = "log lines dropped: standard error was not read fast enough"

MAX_EXCEPTIONS = 16
"""Exceptions of one log line: causes and members of groups."""


class File(Protocol):
    """The part of a text file that the log uses."""

    def write(self, text: str, /) -> int:
        """Write text."""

    def flush(self) -> None:
        """Flush written text."""

    def isatty(self) -> bool:
        """Return whether it is a terminal."""


def configure(form: Literal["text", "json"] | None, level: str, file: File | None = None) -> None:
    """Send the log to `file`, by default standard error.

    `form` None: text where the file is a terminal, else JSON.
    """
    out = sys.stderr if file is None else file
    text = out.isatty() if form is None else form == "text"
    threshold = logging.getLevelNamesMapping()[level.upper()]
    prepare: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=not text),
        structlog.processors.ExceptionRenderer(lambda exc_info: _chain(exc_info[1], set())),
    ]
    # The console's own formatter of exceptions would show the values of variables.
    render: Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if text
        else structlog.processors.JSONRenderer()
    )
    # Not through `logging`: a line takes 17 µs instead of 58, and each stream writes one.
    structlog.configure(
        processors=[*prepare, render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: _Lines(out),
        cache_logger_on_first_use=True,
    )
    handler = _LibraryLines(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            # Lines of libraries get the id of the current request; the gateway's own lines name it.
            foreign_pre_chain=[structlog.contextvars.merge_contextvars, *prepare],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(threshold, logging.INFO))


class Background:
    """A file whose `write` never blocks: a thread writes to `file` what waits in a bounded queue.

    When the queue is full, lines are dropped; once there is room, a line says how many. Leaving the
    `with` block waits up to `CLOSE_SECONDS` until everything is written.
    """

    def __init__(self, file: TextIO, max_waiting: int = MAX_WAITING) -> None:
        self._file = file
        self._max_waiting = max_waiting
        self._lines: deque[str] = deque()
        self._waiting = 0
        self._dropped = 0
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._closing = False
        # A daemon: an exit does not wait for a reader that has stalled.
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._news.set()
        self._thread.join(CLOSE_SECONDS)

    def write(self, text: str, /) -> int:
        """Queue text, or drop it where the queue is full."""
        with self._lock:
            if self._waiting + len(text) > self._max_waiting:
                self._dropped += 1
                return 0
            self._lines.append(text)
            self._waiting += len(text)
        self._news.set()
        return len(text)

    def flush(self) -> None:
        """Do nothing: the thread flushes."""

    def isatty(self) -> bool:
        """Return whether lines go to a terminal."""
        return self._file.isatty()

    def _run(self) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            closing = self._closing
            while (batch := self._next_batch()) is not None:
                with suppress(OSError, ValueError):  # disk full; file closed
                    self._file.write(batch)
                    self._file.flush()
            if closing:
                return

    def _next_batch(self) -> str | None:
        """Return the waiting lines, and a line about dropped ones; None: no line waits."""
        with self._lock:
            if not self._lines:
                return None
            lines, self._lines, self._waiting = self._lines, deque(), 0
            dropped, self._dropped = self._dropped, 0
        if dropped:
            lines.append(
                f"{json.dumps({'event': DROPPED, 'level': 'warning', 'lines': dropped})}\n"
            )
        return "".join(lines)


class _Lines:
    """Writes lines. A line that cannot be written is lost: a full disk ends no stream."""

    def __init__(self, file: File) -> None:
        self._file = file

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):  # ValueError: the file is closed
            self._file.write(f"{line}\n")
            self._file.flush()

    debug = info = warning = error = critical = msg


class _LibraryLines(logging.Handler):
    """Writes the lines of libraries."""

    def __init__(self, file: File) -> None:
        super().__init__()
        self._lines = _Lines(file)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        self._lines.msg(self.format(record))


def open_standard_streams() -> None:
    """Open `/dev/null` for each standard stream that was closed when the program started.

    Otherwise the next file or socket gets its descriptor, and all output for the stream.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is not None:
            continue
        with suppress(OSError):
            os.fstat(number)
            continue
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
        setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _chain(error: BaseException | None, seen: set[int]) -> str:
    """Return the types and tracebacks of an exception, its causes, and the members of a group."""
    parts: list[str] = []
    while error is not None and id(error) not in seen and len(seen) < MAX_EXCEPTIONS:
        seen.add(id(error))
        kind = type(error)
        lines = traceback.format_tb(error.__traceback__)
        parts.append("".join([*lines, f"{kind.__module__}.{kind.__qualname__}"]))
        if isinstance(error, BaseExceptionGroup):
            members = [_chain(member, seen) for member in error.exceptions]
            parts[-1] = "\n".join([parts[-1], "with:", *filter(None, members)])
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\nwhich led to:\n".join(reversed(parts))
