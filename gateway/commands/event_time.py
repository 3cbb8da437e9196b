"""Find out from its id when an event was written.

A frame carries no timestamp, but an id contains, for each log, the timestamp of the record before
its position. Exactly one log position changes from one id to the next: that of the event's log.
"""

from __future__ import annotations

from gateway.core.event_id import CursorEntry, parse
from gateway.core.records import OffsetPosition
from gateway.errors import EventIdError


def written_at(previous_id: str, event_id: str) -> float | None:
    """Return when the event with this id was written, in Unix seconds.

    None if the ids are another server's, or if the positions of several logs changed.
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
