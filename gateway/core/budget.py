"""Budget: what one synchronous step of the hub may cost.

The event loop stands still during a step, so a step takes so much work and leaves the rest to the
next one. Work is counted, not timed: the core reads no clock, and a test can count it too. One unit
is about a microsecond (CPython 3.11, 3 GHz).
"""

from __future__ import annotations

STEP = 2000
"""Units of one step."""

SHARE = 400
"""Units of a step that closing streams, and bringing them up, have whatever comes before."""

WRITE = 6
"""A write to a socket, without its bytes."""

BYTES = 2048
"""Bytes that the kernel copies in one unit."""

EVENT = 3
"""A record decoded, or an event framed."""

CLOSE = 60
"""A stream closed: most of it is the line in the log."""


class Budget:
    """What is left of a step."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = STEP

    def written(self, size: int) -> None:
        """Count a write of `size` bytes."""
        self.left -= WRITE + size // BYTES

    def guarantee(self, share: int) -> None:
        """Leave at least `share` for what comes next."""
        self.left = max(self.left, share)
