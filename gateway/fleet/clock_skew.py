"""Detection of record timestamps that are not the time of writing: a clock is wrong.

The last record of each partition that is read is checked once per status of the worker, and costs
nothing while events are delivered. A record's timestamp is

    timestamp                                   | because
    --------------------------------------------+---------------------------------------------------
    ahead, if it is after the present           | no record is written in the future
    behind, if it is long before the last check | the partition had been read to its end by then, so
                                                | the record was written after that check

A producer may also have delayed a record that is behind: the worker cannot distinguish the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.core.records import TIMESTAMP_LIMIT, OffsetPosition, TopicPartition
from gateway.fleet.status import TimeOff

if TYPE_CHECKING:
    from collections.abc import Mapping


AHEAD_MS = 5_000
"""Smaller differences are harmless."""

BEHIND_MS = 60_000
"""Producers batch and retry: a shorter delay of a record is normal."""

HELD_CHECKS = 2
"""Checks for which a finding stays visible: records of other producers may come between two records
of the producer whose clock is wrong."""


class _Read(NamedTuple):
    offset: int
    wall: int
    """When the partition was found read to its end; 0 where records were left."""


class RecordTimes:
    """The findings of the latest checks."""

    def __init__(self) -> None:
        self._read: dict[TopicPartition, _Read] = {}
        self._found: dict[TopicPartition, tuple[int, TimeOff]] = {}
        self._checks = 0

    def check(
        self,
        heads: Mapping[TopicPartition, OffsetPosition],
        lags: Mapping[TopicPartition, int] | None,
        wall: int,
    ) -> TimeOff | None:
        """Return the worst recent finding at the time `wall` (Unix ms); None: no finding.

        `heads` are the positions after the last record read. None for `lags` means that Kafka does
        not answer.
        """
        self._checks += 1
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
                self._found[log] = self._checks, TimeOff(*log, head.offset - 1, off)
        self._read = read
        for log, (check, _) in list(self._found.items()):
            if check + HELD_CHECKS < self._checks or log not in heads:
                del self._found[log]
        found = [off for _, off in self._found.values()]
        return max(found, key=lambda off: abs(off.seconds), default=None)
