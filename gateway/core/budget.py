"""Budget: the work that one synchronous step of the hub may do.

A step blocks the event loop, so it does a bounded amount of work and leaves the rest to the next
step. Work is counted, not timed: the core reads no clock, and tests can count the same units. One
unit is about a microsecond (CPython 3.11, 3 GHz).
"""

from __future__ import annotations

STEP = 2000
"""Units of one step."""

SHARE = 400
"""Units of a step reserved for heartbeats, for closing streams, and for catch-up, each."""

WRITE = 6
"""A write to a socket, without its bytes."""

BYTES = 2048
"""Bytes that the kernel copies in one unit."""

EVENT = 3
"""A record decoded, or an event framed."""

MOVE = 20
"""A stream compared with the partition map, with the hash of its key."""

CLOSE = 60
"""A stream closed; the log line is most of the cost."""


PARK = 2
"""A stream of a partition that is not read any more."""

HAND_OVER = 4
"""A stream that a scan has finished."""

PIECE = 250
"""Records that are moved to a tail, or freed with a tail, before the budget is checked."""

RECORDS = 2
"""Records that are moved or freed in one unit."""


class Budget:
    """The units left in a step."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = STEP

    def written(self, size: int) -> None:
        """Count a write of `size` bytes."""
        self.left -= WRITE + size // BYTES

    def guarantee(self, share: int) -> None:
        """Raise the remaining units to at least `share`."""
        self.left = max(self.left, share)
