"""Pacing: how long records may gather before the next fetch.

At low load a broker holds the fetch and the worker delivers an event at once. Under load many small
fetches would use up the CPU, so records gather at the broker between fetches. The pause is a
multiple of the time that the last cycle took and of the time by which the event loop was late for
it: an idle worker fetches again almost at once, an overloaded one pauses up to the bound.
"""

from __future__ import annotations

RATIO = 2.0
"""Seconds of pause for each second of a cycle: a reader uses at most a third of a core before
records gather. A lower share saves CPU only where producers write evenly; see
docs/performance.md, "Pacing"."""


class Pacer:
    """Returns the pause after each fetch. `most` bounds it, in seconds."""

    def __init__(self, most: float) -> None:
        self._most = most

    def pause(self, spent: float, late: float = 0.0) -> float:
        """Return the seconds to wait after a cycle.

        The cycle took `spent` seconds, and began `late` seconds after its pause: the event loop
        had other work.
        """
        return min(self._most, RATIO * (spent + late))
