"""Whether a worker can serve, and if not, why not: for load balancers and for people."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class NotReadyReason(StrEnum):
    """A reason why the worker is not ready."""

    STARTING = "starting"
    KAFKA = "kafka"
    TOPICS = "topics"
    REVOCATIONS = "revocations"
    KEYS = "keys"
    DRAINING = "draining"


class Readiness:
    """The current reasons, each with a detail that names the remedy."""

    def __init__(self) -> None:
        self._doubts = {NotReadyReason.STARTING: "the worker has not reached Kafka yet"}
        self._first = asyncio.Event()

    def __bool__(self) -> bool:
        return not self._doubts

    @property
    def ever(self) -> bool:
        """Whether it has been ready before: from then on streams are opened, Kafka or not."""
        return self._first.is_set()

    async def first(self) -> None:
        """Return when it has been ready for the first time."""
        await self._first.wait()

    @property
    def draining(self) -> bool:
        """Whether the worker is on its way out."""
        return NotReadyReason.DRAINING in self._doubts

    @property
    def doubts(self) -> Mapping[NotReadyReason, str]:
        """Why it is not ready, with the details."""
        return self._doubts

    def doubt(self, doubt: NotReadyReason, detail: str) -> bool:
        """Raise a doubt; return whether it is news."""
        news = self._doubts.get(doubt) != detail
        self._doubts[doubt] = detail
        return news

    def settle(self, *doubts: NotReadyReason) -> bool:
        """Withdraw doubts; return whether the worker became ready by it."""
        before = bool(self)
        for doubt in doubts:
            self._doubts.pop(doubt, None)
        if self:
            self._first.set()
        return bool(self) and not before

    def report(self) -> dict[str, object]:
        """Return the state as `/readyz` shows it."""
        return {
            "ready": bool(self),
            "reasons": [
                {"reason": str(doubt), "detail": detail} for doubt, detail in self._doubts.items()
            ],
        }
