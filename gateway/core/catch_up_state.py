"""The state of a stream in a partition in which it is behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.core.records import TIMESTAMP_LIMIT, TimePosition

if TYPE_CHECKING:
    from gateway.core.gap import Gap
    from gateway.core.records import OffsetPosition, Position, Record


class Found:
    """Events that a scan has found, oldest first, for streams with the same search.

    Append-only, so that streams can share parts of it.
    """

    __slots__ = ("records",)

    def __init__(self, records: list[Record] | None = None) -> None:
        self.records: list[Record] = [] if records is None else records


class Part(NamedTuple):
    """The found events to send to one stream: indexes `begin` to before `end`."""

    found: Found
    begin: int
    end: int


class CatchUpState:
    """The state of a stream in a partition in which it is behind.

    `backlog` holds the events and gaps from a scan that are not written yet; `next_position` is
    the stream's position after them.
    """

    __slots__ = (
        "ahead",
        "backlog",
        "checked",
        "latest",
        "limited",
        "next_position",
        "position",
        "reset_entry",
        "scanning",
        "until",
    )

    def __init__(
        self,
        position: Position,
        *,
        checked: bool,
        reset_entry: bytes | None = None,
        latest: int = TIMESTAMP_LIMIT,
    ) -> None:
        self.position = position
        self.latest = latest
        """When the stream was opened (Unix ms); a later timestamp in an id is replaced by it."""
        self.checked = checked
        """Whether the position was verified; one from an id is not, until it is compared."""
        self.ahead = False
        """Whether the partition reaches the position although the tail, which lags, does not."""
        self.limited = checked
        """Whether the replay limits were applied, which bound replays and resumes from memory. A
        stream that fell behind the tail's head is not limited."""
        self.reset_entry = reset_entry
        """The client's own entry if it leads to a gap `reset`. The stream's ids keep it until the
        gap is sent, so that a client that disconnects before gets the gap when it resumes."""
        self.until: int | None = None
        """The end of the partition when the stream first looked for missed events. Events from this
        offset on do not count against the limits. None: not known yet."""
        self.backlog: list[Part | Gap] = []
        self.next_position: Position | None = None
        self.scanning = False
        """Whether the stream waits for a scan or takes part in one."""

    def reset(self, position: OffsetPosition, entry: bytes) -> None:
        """Reset a position of another incarnation: send a gap, continue by its timestamp.

        `entry` is that of the position in an id.
        """
        self.reset_entry = entry
        self.position = TimePosition(min(position.timestamp, self.latest))
        self.until = None
        self.checked = self.limited = False
