"""Going by the compacted topic that says what is revoked.

What was read stays in the table while the topic is read again, and afterwards, unless it is lifted.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from gateway import clock
from gateway.core.digest import Digest, Written
from gateway.core.event import UnreadableReason
from gateway.core.frame import CloseReason
from gateway.core.log import Log
from gateway.core.revocation import read_change
from gateway.kafka.compacted import BATCH

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.core.hub import Hub
    from gateway.core.revocations import Revocations
    from gateway.kafka.screen import Unreadable

GATHER_SECONDS = 0.05
"""Between two batches that changed something, since all streams are looked at after each: whoever
revokes thousands one by one makes 20 looks a second of it, 2 % of a core with 20,000 streams."""

_log = structlog.stdlib.get_logger(__name__)


class RevocationFollower:
    """Moves revocations from their topic into the table, and ends the streams that they end.

    `life` is how long one lasts that does not say (ms). `whole` is called once all that the topic
    had was read, and may be called again.
    """

    def __init__(
        self,
        topic: str,
        life: int,
        hub: Hub,
        revocations: Revocations,
        unreadable: Unreadable,
        whole: Callable[[], None],
    ) -> None:
        self._topic = topic
        self._life = life
        self._hub = hub
        self._revocations = revocations
        self._unreadable = unreadable
        self._whole = whole
        self._digest = Digest()

    def begin(self) -> None:
        """Drop what was added and not taken."""
        self._digest = Digest()

    def add(self, partition: int, records: Sequence[Any]) -> None:
        """Add what the records come down to."""
        now = clock.now().wall
        for record in records:
            change = read_change(record.key, record.value, record.timestamp, self._life)
            if isinstance(change, UnreadableReason):
                self._unreadable(Log(self._topic, partition), record.offset, change)
            else:
                written = Written(change, partition, record.timestamp)
                self._digest.add(written, self._revocations, now)

    async def take(self) -> None:
        """Go by what was added, and let the loop go now and then."""
        every = self._digest.drain()
        for first in range(0, len(every), BATCH):
            some = every[first : first + BATCH]
            for written in some:
                self._revocations.take(written.change, written.timestamp)
            users = {written.user for written in some if written.user is not None}
            moment = clock.now()
            ended = self._revocations.covered(self._hub.streams, users, moment.wall)
            for stream in ended:
                self._hub.close(stream, CloseReason.REVOKED, moment)
            if ended:
                _log.info("streams ended that were revoked", streams=len(ended))
            await asyncio.sleep(0 if len(some) == BATCH else GATHER_SECONDS)
        self._whole()

    def failed(self, reason: str) -> None:
        """Say so; what is known already goes on counting."""
        _log.warning("revocations cannot be read, and are tried again", error=reason)
