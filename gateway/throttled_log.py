"""Log lines that clients or producers can cause: at most one a second of each kind.

Kinds are kept for the life of the process, so they are few and never contain data of a client.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

PERIOD_SECONDS = 1.0


class _Silent(NamedTuple):
    """The last line that was held back, and the number of lines held back before it."""

    level: int
    event: str
    facts: Mapping[str, object]
    before: int


class ThrottledLog:
    """Logs a line, or holds it back where one of its kind was logged within the last second.

    When the second is over, `sweep` logs the last line that was held back, with the number of the
    others: the numbers in the log add up.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._log = structlog.stdlib.get_logger("gateway")
        self._next: dict[Hashable, float] = {}
        self._silent: dict[Hashable, _Silent] = {}

    def error(self, kind: Hashable, event: str, **facts: object) -> None:
        """Log a defect of the worker."""
        self._log_throttled(logging.ERROR, kind, event, facts)

    def warn(self, kind: Hashable, event: str, **facts: object) -> None:
        """Log a condition that an operator should check."""
        self._log_throttled(logging.WARNING, kind, event, facts)

    def info(self, kind: Hashable, event: str, **facts: object) -> None:
        """Log normal operation, or a mistake of a client."""
        self._log_throttled(logging.INFO, kind, event, facts)

    def sweep(self) -> None:
        """Log lines that were held back for a second; called once a second."""
        now = self._monotonic()
        for kind in [kind for kind in self._silent if now >= self._next[kind]]:
            level, event, facts, before = self._silent.pop(kind)
            self._next[kind] = now + PERIOD_SECONDS
            self._log.log(level, event, **_told(facts, before))

    def _log_throttled(
        self, level: int, kind: Hashable, event: str, facts: Mapping[str, object]
    ) -> None:
        now = self._monotonic()
        silent = self._silent.get(kind)
        before = 0 if silent is None else silent.before + 1
        if now < self._next.get(kind, 0.0):
            self._silent[kind] = _Silent(level, event, facts, before)
            return
        self._silent.pop(kind, None)
        self._next[kind] = now + PERIOD_SECONDS
        self._log.log(level, event, **_told(facts, before))


def _told(facts: Mapping[str, object], before: int) -> Mapping[str, object]:
    return {**facts, "not_logged_before": before} if before else facts
