"""The readiness of a worker and the reasons against it, for load balancers and operators."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class NotReadyReason(StrEnum):
    """A reason why the worker is not ready."""

    STARTING = "starting"
    KAFKA = "kafka"
    TOPICS = "topics"
    REVOCATIONS = "revocations"
    KEYS = "keys"
    SCHEMAS = "schemas"
    DRAINING = "draining"


class Readiness:
    """The current reasons, each with a detail that names the remedy.

    A degraded worker is ready: it serves all but what the detail names. `changed` is called when a
    reason or its detail is new, and when the worker becomes ready.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self._changed = changed
        self._degraded: dict[NotReadyReason, str] = {}
        self._reasons = {NotReadyReason.STARTING: "the worker has not reached Kafka yet"}
        self._first = asyncio.Event()

    def __bool__(self) -> bool:
        return not self._reasons

    @property
    def ever(self) -> bool:
        """Whether the worker was ready before: from then on it opens streams without Kafka, too."""
        return self._first.is_set()

    async def first(self) -> None:
        """Return when the worker becomes ready for the first time."""
        await self._first.wait()

    @property
    def draining(self) -> bool:
        """Whether the worker is being stopped."""
        return NotReadyReason.DRAINING in self._reasons

    @property
    def reasons(self) -> Mapping[NotReadyReason, str]:
        """The current reasons with their details; those of a ready worker degrade it only."""
        return {**self._reasons, **self._degraded}

    def set_reason(self, reason: NotReadyReason, detail: str) -> bool:
        """Set a reason; return whether the reason or its detail is new."""
        self._degraded.pop(reason, None)
        return self._set(self._reasons, reason, detail)

    def degrade(self, reason: NotReadyReason, detail: str) -> bool:
        """Set a reason that leaves the worker ready; return whether it or its detail is new."""
        self._reasons.pop(reason, None)
        return self._set(self._degraded, reason, detail)

    def clear(self, *reasons: NotReadyReason) -> bool:
        """Clear reasons; return whether the worker became ready."""
        before = bool(self)
        for reason in reasons:
            self._reasons.pop(reason, None)
            self._degraded.pop(reason, None)
        if self:
            self._first.set()
        became_ready = bool(self) and not before
        if became_ready:
            self._changed()
        return became_ready

    def _set(self, reasons: dict[NotReadyReason, str], reason: NotReadyReason, detail: str) -> bool:
        is_new = reasons.get(reason) != detail
        reasons[reason] = detail
        if is_new:
            self._changed()
        return is_new

    def report(self) -> dict[str, object]:
        """Return the state as `/readyz` shows it."""
        return {
            "ready": bool(self),
            "reasons": [
                {"reason": str(reason), "detail": detail} for reason, detail in self.reasons.items()
            ],
        }
