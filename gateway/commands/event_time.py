"""When an event was written, as far as its id says so.

A frame has no time of its own. But an id holds, for each log, the timestamp of the record before
its position, and the one log whose position has moved is the one that the event came from.
"""

from __future__ import annotations

from gateway.core.event_id import CursorEntry, parse
from gateway.core.records import OffsetPosition
from gateway.errors import EventIdError


def written_at(previous_id: str, event_id: str) -> float | None:
    """Return when the event with this id was written, in Unix seconds.

    None where the ids do not tell: they are another server's, or more than one log has moved.
    """
    before = _marks(previous_id)
    moved = [
        mark.position.timestamp
        for mark in _marks(event_id)
        if mark not in before and isinstance(mark.position, OffsetPosition) and mark.position.seen
    ]
    return moved[0] / 1000 if len(moved) == 1 else None


def _marks(event_id: str) -> list[CursorEntry]:
    try:
        return parse(event_id)
    except EventIdError:
        return []
