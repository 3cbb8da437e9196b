"""Pacing: how long records may gather before the next fetch.

A fetch cycle of aiokafka costs 0.5 to 1 ms of CPU whatever it brings. At rest the broker holds the
fetch, so an event leaves at once and waiting would only add latency. Under load many small fetches
would burn the processor, so records gather for a bounded few milliseconds: the busier the log, the
longer, up to the bound.
"""

from __future__ import annotations

BUSY = 500.0
"""Records a second from which on the whole delay is taken: at 20 ms, fetches of 10 records."""

MEMORY = 0.5
"""Seconds over which the rate is averaged: a burst is noticed within a few fetches."""


class Pacer:
    """Says how long to wait after each fetch, from the rate of records."""

    def __init__(self, most: float) -> None:
        self._most = most
        """Seconds."""
        self._rate = 0.0
        self._last = float("-inf")

    def pause(self, records: int, now: float) -> float:
        """Return the seconds to wait after a fetch at `now` (monotonic) that brought `records`."""
        elapsed = now - self._last
        self._last = now
        # The rate decays with time, and each fetch adds its part of a window.
        self._rate = self._rate * max(0.0, 1.0 - elapsed / MEMORY) + records / MEMORY
        return self._most * min(1.0, self._rate / BUSY)
