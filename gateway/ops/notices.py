"""Log lines that clients or producers can cause: at most one a second for each kind of thing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

PERIOD_SECONDS = 1.0


class Notices:
    """Warns, and counts in silence what it has warned of within the last second."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._log = structlog.stdlib.get_logger("gateway")
        self._next: dict[Hashable, float] = {}
        self._silent: dict[Hashable, int] = {}

    def warn(self, kind: Hashable, event: str, **facts: object) -> None:
        """Log the event, unless one of the same kind was logged less than a second ago."""
        now = self._monotonic()
        if now < self._next.get(kind, 0.0):
            self._silent[kind] = self._silent.get(kind, 0) + 1
            return
        self._next[kind] = now + PERIOD_SECONDS
        silent = self._silent.pop(kind, 0)
        if silent:
            facts["not_logged_before"] = silent
        self._log.warning(event, **facts)
