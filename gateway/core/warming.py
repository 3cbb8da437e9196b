"""The records that a scan collects for the tail at which it ends."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from gateway.core.records import OffsetPosition
from gateway.core.seeker import NEVER

if TYPE_CHECKING:
    from gateway.core.records import Record


class Warming:
    """The newest records of a partition that fit into a number of bytes."""

    def __init__(self) -> None:
        self.start = NEVER
        """The first offset that is collected; `NEVER`: none is."""
        self.pending = False
        """Whether collected records are to be moved to the tail."""
        self._records: deque[Record] = deque()
        self._room = 0

    @property
    def wanted(self) -> bool:
        """Whether records are collected."""
        return self.start < NEVER

    def begin(self, start: int, room: int) -> None:
        """Collect every record from `start` on, the newest `room` bytes."""
        self.start, self.pending, self._room = start, True, room

    def keep(self, record: Record) -> None:
        """Collect a record, and drop the oldest ones that do not fit any more."""
        self._records.append(record)
        self._room -= record.size
        while self._room < 0:
            oldest = self._records.popleft()
            self._room += oldest.size
            self.start = oldest.offset + 1

    def pop(self, most: int) -> tuple[list[Record], OffsetPosition]:
        """Remove the newest `most` records; return them, and the position before them."""
        piece: list[Record] = []
        while self._records and len(piece) < most:
            piece.append(self._records.pop())
        piece.reverse()
        if self._records:
            return piece, OffsetPosition.after(self._records[-1])
        return piece, OffsetPosition(self.start, 0, False)

    def __bool__(self) -> bool:
        return bool(self._records)

    def stop(self) -> None:
        """Drop the collected records."""
        self._records.clear()
        self.pending = False
