"""Logging: one line for each event, for a person on a terminal or for a machine as JSON.

No line holds what a client or producer has sent, but for what was looked at and found fit. Our own
lines are made that way, one by one. Libraries know of no such rule, so:

- their lines at level `debug`, which quote requests, answers and passwords whole, are never shown;
- an exception is shown as its kind and the lines of code that it came through, without its text and
  without the values of variables.
"""

from __future__ import annotations

import logging
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, TextIO

import structlog

if TYPE_CHECKING:
    from structlog.typing import ExcInfo, Processor

MAX_EXCEPTIONS = 16
"""Exceptions of one log line: causes and members of groups."""


def configure(form: Literal["text", "json"] | None, level: str) -> None:
    """Send the log to standard error; None: text on a terminal, else JSON."""
    text = sys.stderr.isatty() if form is None else form == "text"
    threshold = logging.getLevelNamesMapping()[level.upper()]
    prepare: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=not text),
        structlog.processors.ExceptionRenderer(_describe),
    ]
    # The console's own formatter of exceptions would show the values of variables.
    render: Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if text
        else structlog.processors.JSONRenderer()
    )
    # Not by way of `logging`: a line takes 17 µs instead of 58, and each stream leaves one.
    structlog.configure(
        processors=[*prepare, render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=_StandardError,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            # What a library says while it handles a request has the request's id. Ours name it.
            foreign_pre_chain=[structlog.contextvars.merge_contextvars, *prepare],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(threshold, logging.INFO))
    # aiokafka tells of each attempt to reach a broker that is away; the worker says once what it
    # means.
    if level != "debug":
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


class _StandardError:
    """Writes lines. One that cannot be written is lost: no stream ends for a disk that is full."""

    def __init__(self, *_: str) -> None:
        self._file: TextIO = sys.stderr

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):  # the latter where it was closed
            self._file.write(f"{line}\n")
            self._file.flush()

    debug = info = warning = error = critical = msg


def _describe(exc_info: ExcInfo) -> str:
    """Return the types and tracebacks of an exception, its causes, and the members of a group."""
    return _chain(exc_info[1], set())


def _chain(error: BaseException | None, seen: set[int]) -> str:
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
