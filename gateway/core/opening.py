"""What a client asked for when it opened a stream, and where that puts it in each log."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.core.event_id import Mark, encode_mark
from gateway.core.log import Position, Since
from gateway.core.stream import Behind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.log import Moment
    from gateway.core.stream import Feed


class Opening(NamedTuple):
    """A request for a stream, after the edge has checked who asks and how it is written."""

    user: bytes
    """The user id in UTF-8: the record key."""
    categories: frozenset[str] | None = None
    session: str | None = None
    cursor: Sequence[Mark] = ()
    """What its id says; empty without one."""
    since: int | None = None
    """Unix ms to start from, where there is no id."""
    malformed: bool = False
    """It had an id, which is none of ours."""

    def place(self, feed: Feed, moment: Moment) -> Behind:
        """Return where the stream begins in a log.

        With an id, where it says; a mark for another incarnation or partition is a `reset`. With
        `since`, there. Otherwise, and in a log that the id does not speak of, from now on: from the
        head of the tail, or while nobody reads the log from its first record after this moment.
        """
        marks = [mark for mark in self.cursor if mark.kind is feed.topic.kind]
        here = [mark for mark in marks if mark.partition == feed.log.partition]
        if marks:
            mark = here[0] if here else marks[0]
            known = bool(here) and mark.tag == feed.topic.tag
            if known and isinstance(mark.place, Position):
                return Behind(mark.place, checked=False, latest=moment.wall)
            since = Since(min(mark.place.timestamp, moment.wall))
            return Behind(since, checked=False, untold=None if known else encode_mark(*mark))
        if self.since is not None and not self.cursor and self.since < moment.wall:
            return Behind(Since(self.since), checked=False)
        if feed.tail is not None:
            return Behind(feed.tail.head, checked=True)
        return Behind(Since(moment.wall), checked=True)
