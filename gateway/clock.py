"""The time, read by the edges and passed to the core."""

from __future__ import annotations

import time

from gateway.core.records import Moment


def now() -> Moment:
    """Return this moment, on both clocks that matter."""
    return Moment(time.monotonic(), time.time_ns() // 1_000_000)
