"""Stream request: the parameters of a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.core.event_id import CursorEntry
    from gateway.core.filter import EventFilter


class StreamRequest(NamedTuple):
    """A request for a stream, after authentication and validation by the edge."""

    user: bytes
    """The user id in UTF-8."""
    filter: EventFilter | None = None
    session: str | None = None
    cursor: Sequence[CursorEntry] = ()
    """The entries of its event id; empty without an id."""
    since: int | None = None
    """Unix ms to start from, if the request has no id."""
    malformed: bool = False
    """The request has an id that cannot be parsed."""
    issued_at: float | None = None
    """When its token was issued, in Unix seconds."""
    address: str = ""
    """The client address, as limits count it; empty: not counted."""
    groups: Mapping[str, tuple[bytes, ...]] = {}
    """The record keys of the groups that its token names, by topic; never modified."""
