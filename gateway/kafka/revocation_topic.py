"""Applies the compacted topic of revocations to the table and to open streams.

Loaded revocations stay in force while the topic is read again, unless a record removes them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from gateway import clock
from gateway.core.gap import CloseReason
from gateway.core.records import TopicPartition, UnreadableReason
from gateway.kafka.compacted_topic import BATCH
from gateway.kafka.fetch.partition import report_unreadable
from gateway.revocation.compaction import Digest, Written
from gateway.revocation.record import read_change
from gateway.supervise import Containment, Part

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.kafka.fetch.partition import Reports
    from gateway.kafka.revocation_events import RevocationEvents

GATHER_SECONDS = 0.05
"""Pause after each batch, since every batch is compared with all streams: a producer that revokes
thousands one by one causes 20 comparisons a second, 2 % of a core with 20,000 streams."""

_log = structlog.stdlib.get_logger(__name__)


class RevocationFollower:
    """Copies revocations from their topic into the table, and closes revoked streams.

    The table is that of `revoking`, which also gets each applied change. `whole` is called
    each time the topic has been read up to its end. A record that raises an unexpected exception is
    discarded alone.
    """

    part = Part.REVOCATIONS

    def __init__(
        self, topic: str, revoking: RevocationEvents, reports: Reports, whole: Callable[[], None]
    ) -> None:
        self.topic = topic
        self._life = revoking.life
        self._hub = revoking.hub
        self._revocations = revoking.revocations
        self._reports = reports
        self._whole = whole
        self._seen = revoking.seen
        self._digest = Digest()

    def begin(self) -> None:
        """Discard pending records: the topic is read from its start."""
        self._digest = Digest()

    def add(self, partition: int, records: Sequence[Any]) -> None:
        """Add records; only the last effect on each key is kept."""
        now = clock.now().wall
        for record in records:
            with Containment(self.part, self._reports):
                change = read_change(record.key, record.value, record.timestamp, self._life)
                if isinstance(change, UnreadableReason):
                    log = TopicPartition(self.topic, partition)
                    report_unreadable(self._reports, log, record.offset, change)
                else:
                    written = Written(change, partition, record.timestamp)
                    self._digest.add(written, self._revocations, now)

    async def apply(self) -> None:
        """Apply the pending records in batches, and yield to the loop between them."""
        every = self._digest.drain()
        for first in range(0, len(every), BATCH):
            some = every[first : first + BATCH]
            for written in some:
                with Containment(self.part, self._reports):
                    self._revocations.apply(written.change, written.timestamp)
                    self._seen(written.change)
            users = {written.user for written in some if written.user is not None}
            moment = clock.now()
            ended = self._revocations.covered(self._hub.streams, users, moment.wall)
            self._hub.close_all(ended, CloseReason.REVOKED, moment)
            if ended:
                _log.info("revoked streams closed", streams=len(ended))
            await asyncio.sleep(0 if len(some) == BATCH else GATHER_SECONDS)
        self._whole()

    def failed(self, reason: str) -> None:
        """Log the failure; loaded revocations stay in force."""
        _log.warning("revocations cannot be read; retried, loaded ones stay in force", error=reason)
