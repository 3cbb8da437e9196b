from __future__ import annotations

import pytest

from gateway.commands.tail import written_at
from gateway.core.event_id import CursorEntry, encode
from gateway.core.records import LogKind, OffsetPosition, Position, TimePosition


def event_id(user: Position, broadcast: Position) -> str:
    tag = b"\0\0\0\0"
    marks = [
        CursorEntry(LogKind.USER, tag, 3, user),
        CursorEntry(LogKind.BROADCAST, tag, 0, broadcast),
    ]
    return encode(marks).decode()


SEEN = OffsetPosition(8, 4000, True)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (
            event_id(OffsetPosition(7, 3000, True), SEEN),
            event_id(OffsetPosition(9, 5000, True), SEEN),
            5.0,
        ),
        (event_id(SEEN, TimePosition(1)), event_id(SEEN, OffsetPosition(1, 6500, True)), 6.5),
        (
            event_id(TimePosition(1), TimePosition(2)),
            event_id(SEEN, OffsetPosition(5, 1, False)),
            4.0,
        ),
        (event_id(SEEN, SEEN), event_id(SEEN, SEEN), None),
        (event_id(TimePosition(1), TimePosition(2)), event_id(SEEN, SEEN), None),
        (event_id(SEEN, SEEN), event_id(OffsetPosition(9, 5000, False), SEEN), None),
        ("", event_id(SEEN, OffsetPosition(5, 1, False)), 4.0),
        ("1", "2", None),
        (event_id(SEEN, SEEN), "", None),
    ],
)
def test_the_log_that_moved_tells_the_time(before: str, after: str, expected: float | None) -> None:
    assert written_at(before, after) == expected
