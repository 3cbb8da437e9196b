"""Contains unexpected exceptions: one part fails, and the worker keeps running.

An exception is unexpected if no `except` around the failing code names it. Delivery must survive
it: a worker that exits ends all of its streams, and clients that reconnect bring the same input to
the next worker. The two forms of containment:

    with supervisor.contain(Part.STATUS):        # one step: an exception ends the block
        ...

    async with asyncio.TaskGroup() as group:     # a task: restarted, with back-off
        group.create_task(supervisor.keep(Part.SCANS, scans.run))

Both log the exception with its traceback, without its text and without the values of variables, at
most once a second for each part, and count it in `gateway_internal_errors_total{part=}`.

`KeyboardInterrupt` and `SystemExit` pass through, and so does the `CancelledError` of a task that
is being cancelled. A `CancelledError` in any other task is contained like an exception: it comes
from a future that other code has cancelled, and asyncio would end the task without a report.

Exceptions with a known cause (`KafkaError`, `TimeoutError`) are the caller's to catch; `flat` finds
them inside a group:

    except* KafkaError as group:
        error = flat(group)[0]
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, Self

from gateway import clock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

FIRST_SECONDS = 1.0
"""Pause before the first restart of a task."""

LONGEST_SECONDS = 30.0
"""Longest pause before a restart."""

STEADY_SECONDS = 60.0
"""What ran for this long starts again after the shortest pause."""


class Part(StrEnum):
    """The parts of a worker that fail alone: the values of the metric's label."""

    KAFKA = "kafka"
    """The connection to Kafka as a whole: its search for topics, its set of tasks."""
    LIVE = "live"
    """The live reader."""
    FETCH = "fetch"
    """Fetching from one broker."""
    PARTITION = "partition"
    """The records of one partition."""
    SCANS = "scans"
    """A worker of the replay scans."""
    SCAN = "scan"
    """One replay scan."""
    STREAM = "stream"
    """One stream."""
    TICK = "tick"
    """Deadlines and heartbeats of all streams."""
    TOPICS = "topics"
    """The watch on topics and the probe of Kafka."""
    REVOCATIONS = "revocations"
    """The reader and the writer of revocations."""
    SWEEP = "sweep"
    """Removal of unused feeds and expired revocations."""
    DEAD_LETTERS = "dead_letters"
    """The writer of skipped records."""
    SCHEMAS = "schemas"
    """The requests to the schema registry."""
    KEYS = "keys"
    """The refresh of published signing keys."""
    CERTIFICATE = "certificate"
    """The refresh of the TLS certificate."""
    STATUS = "status"
    """This worker's status."""
    FLEET = "fleet"
    """The statuses of other workers."""
    DASHBOARD = "dashboard"
    """History and dashboard streams."""
    METRICS = "metrics"
    """Gauges, and measurements of the event loop."""
    NOTICES = "notices"
    """Log lines that were held back."""
    RETENTION = "retention"
    """The comparison of topic retention with the replay age."""
    TRACING = "tracing"
    """Spans."""


class Restarts:
    """The pauses before the restarts of one task or process; times are seconds of one clock.

    The first pause is `first`, doubled with each failure up to `LONGEST_SECONDS`, and reset by a
    run of `STEADY_SECONDS`.
    """

    def __init__(self, first: float) -> None:
        self._first = self._pause = first
        self._started = 0.0

    def started(self, now: float) -> None:
        """Note that it was started."""
        self._started = now

    def died(self, now: float) -> float:
        """Return how many seconds to wait before the next start."""
        if now - self._started >= STEADY_SECONDS:
            self._pause = self._first
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_SECONDS)
        return pause


class Failures(Protocol):
    """Reports contained exceptions."""

    def failed(self, part: Part, error: BaseException) -> None:
        """Count and log an exception; it must not raise."""


class Containment:
    """The state of one `with` block: whether an exception has ended it.

    `failed` is False until the block has ended by an exception that is contained.
    """

    __slots__ = ("_failures", "_part", "failed")

    def __init__(self, part: Part, failures: Failures) -> None:
        self._part = part
        self._failures = failures
        self.failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        # The broad `except Exception` of this code base, in the form of a context manager. A group
        # with a CancelledError in it is a BaseExceptionGroup, and passes.
        if error is None or not (isinstance(error, Exception) or _is_stray(error)):
            return False
        self.failed = True
        self._failures.failed(self._part, error)
        return True


class Supervisor:
    """Contains exceptions of the parts of one worker, and reports them to `failures`."""

    def __init__(self, failures: Failures) -> None:
        self._failures = failures

    def contain(self, part: Part) -> Containment:
        """Return a context manager that ends its block at an exception, and reports it."""
        return Containment(part, self._failures)

    async def keep(self, part: Part, run: Callable[[], Awaitable[None]]) -> None:
        """Run a task until it is cancelled: start it again when it fails or returns."""
        restarts = Restarts(FIRST_SECONDS)
        while True:
            restarts.started(clock.now().monotonic)
            with self.contain(part):
                await run()
            await asyncio.sleep(restarts.died(clock.now().monotonic))


def _is_stray(error: BaseException) -> bool:
    """Return whether a `CancelledError` was raised in a task that is not being cancelled."""
    if not isinstance(error, asyncio.CancelledError):
        return False
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no event loop
        return False
    return task is not None and not task.cancelling()


def flat(error: BaseException) -> list[BaseException]:
    """Return the exceptions of a group and its nested groups, or the one exception."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for part in error.exceptions for leaf in flat(part)]
