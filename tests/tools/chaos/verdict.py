"""Comparison of received events with the log: lost, repeated, out of order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Told(NamedTuple):
    """A gap event between two events."""

    reason: str


class Verdict(NamedTuple):
    """Numbers of events, of one client or of all."""

    delivered: int = 0
    lost: int = 0
    repeated: int = 0
    misplaced: int = 0
    """Out of order, or missing in the log."""

    @property
    def is_clean(self) -> bool:
        """Whether every event arrived once and in order, or lies in a reported gap."""
        return not (self.lost or self.repeated or self.misplaced)

    @classmethod
    def total(cls, verdicts: Iterable[Verdict]) -> Verdict:
        """Return the sum."""
        return cls(*(sum(column) for column in zip(*verdicts, strict=True)))


def judge(written: Sequence[int], had: Iterable[int | Told]) -> Verdict:
    """Return the verdict on the events of a client that connected before the first write.

    `written` has the numbers in log order, each once. Events missing at a reported gap are not
    lost.
    """
    places = {number: place for place, number in enumerate(written)}
    seen: set[int] = set()
    missing: set[int] = set()
    delivered = repeated = misplaced = next_ = 0
    excused = False
    for item in had:
        if isinstance(item, Told):
            excused = True
            continue
        delivered += 1
        place = places.get(item)
        if place in seen:
            repeated += 1
        elif place is None or place < next_:
            misplaced += 1
            missing.discard(-1 if place is None else place)
        else:
            if not excused:
                missing.update(range(next_, place))
            next_ = place + 1
        excused = False
        if place is not None:
            seen.add(place)
    if not excused:
        missing.update(range(next_, len(written)))
    return Verdict(delivered, len(missing), repeated, misplaced)
