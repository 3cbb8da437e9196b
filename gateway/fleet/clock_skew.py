"""Timestamps that cannot be the times at which their records were written: a clock is wrong.

Looked at is the last record of each log that is read, once for each status of the worker, so it
costs nothing while events are delivered. What a record's timestamp tells:

    it is                                       | because
    --------------------------------------------+---------------------------------------------------
    ahead, if it is after the present           | no record is from the future
    behind, if it is long before the last look  | the log had been read to its end by then, so the
                                                | record was written since

A record that is behind may also have been kept back before it was sent: nobody can tell from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.core.records import TIMESTAMP_LIMIT
from gateway.fleet.status import TimeOff

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.records import OffsetPosition, TopicPartition

AHEAD_MS = 5_000
"""Clocks that differ by less do no harm."""

BEHIND_MS = 60_000
"""Producers gather and repeat: what is kept back for less is nobody's mistake."""

HELD_LOOKS = 2
"""For so long something is told after it was seen: between two records of a producer whose clock is
wrong there may be one of another."""


class _Read(NamedTuple):
    offset: int
    wall: int
    """When the log was seen to be read to its end; 0 if it was not."""


class RecordTimes:
    """What the looks have found."""

    def __init__(self) -> None:
        self._read: dict[TopicPartition, _Read] = {}
        self._found: dict[TopicPartition, tuple[int, TimeOff]] = {}
        self._looks = 0

    def look(
        self,
        heads: Mapping[TopicPartition, OffsetPosition],
        lags: Mapping[TopicPartition, int] | None,
        wall: int,
    ) -> TimeOff | None:
        """Return the worst that was seen of late, at the time `wall` (Unix ms).

        `heads` are the positions after the last record read. Of `lags` nothing is known, None,
        while Kafka does not answer.
        """
        self._looks += 1
        read = {}
        for log, head in heads.items():
            ended = lags is not None and lags.get(log, 0) == 0
            read[log] = _Read(head.offset, wall if ended else 0)
            before = self._read.get(log, _Read(-1, 0))
            if head.offset <= before.offset:
                continue
            if 0 < head.timestamp < TIMESTAMP_LIMIT and (
                head.timestamp > wall + AHEAD_MS or head.timestamp < before.wall - BEHIND_MS
            ):
                off = round((head.timestamp - wall) / 1000)
                self._found[log] = self._looks, TimeOff(*log, head.offset - 1, off)
        self._read = read
        for log, (look, _) in list(self._found.items()):
            if look + HELD_LOOKS < self._looks or log not in heads:
                del self._found[log]
        found = [off for _, off in self._found.values()]
        return max(found, key=lambda off: abs(off.seconds), default=None)
