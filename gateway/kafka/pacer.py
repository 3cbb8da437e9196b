"""Pacing: how long records may gather before the next fetch.

At low load a broker holds the fetch and the worker delivers an event at once. Under load many small
fetches would use up the CPU, so records accumulate at the broker between fetches. The pause is a
multiple of the duration of the last cycle, which includes all other work of the event loop
meanwhile: an idle worker fetches again almost at once, an overloaded one pauses up to the bound.
"""

from __future__ import annotations

RATIO = 10.0
"""Pause per second of a cycle: a reader uses at most a tenth of a core, until the bound is
reached."""


class Pacer:
    """Returns the pause after each fetch. `most` bounds it, in seconds."""

    def __init__(self, most: float) -> None:
        self._most = most

    def pause(self, spent: float) -> float:
        """Return the seconds to wait after a cycle that took `spent` seconds."""
        return min(self._most, RATIO * spent)
