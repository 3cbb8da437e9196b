"""Pacing: how long records may gather before the next fetch.

At rest a broker holds the fetch and an event leaves at once. Under load many small fetches would
spend the processor on cycles, so records gather between them. The pause is a multiple of the time
that the last cycle took, with everything else that the event loop did in it: a worker with time to
spare fetches again almost at once, and one that is behind gathers up to the bound.
"""

from __future__ import annotations

RATIO = 10.0
"""Pause for each second that a cycle took: a reader takes at most a tenth of the processor, until
the bound is reached."""


class Pacer:
    """Returns the pause after each fetch. `most` bounds it, in seconds."""

    def __init__(self, most: float) -> None:
        self._most = most

    def pause(self, spent: float) -> float:
        """Return the seconds to wait after a cycle that took `spent` seconds."""
        return min(self._most, RATIO * spent)
