"""Stream: one open SSE response of one user, and its state in each partition.

A stream is *live* in a partition when it has every event up to the head of the partition's tail:
its position is the head, and the hub stores nothing for it. Otherwise the stream is *behind*, and a
`CatchUpState` holds its position:

    state      | condition                                               | left by
    -----------+---------------------------------------------------------+---------------------------
    live       | live in every partition                                 | a full transport
    lagging    | behind; will catch up from the tail                     | `Hub.step`
    replaying  | behind; waits for or takes part in a scan of Kafka      | the end of the scan
    stuck      | its transport is full; behind in every partition, and   | a drained transport, or a
               | nothing is written to it                                | close with reason `slow`
    closed     | ended, and removed from the hub                         | never

A stream can be live in one partition and behind in another, so that a partition without a leader
does not delay the others. The state is derived, never stored.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from gateway.core.event_id import Version

if TYPE_CHECKING:
    from gateway.core.catch_up_state import CatchUpState
    from gateway.core.feed import PartitionFeed
    from gateway.core.records import Event, Position
    from gateway.core.request import StreamRequest


class Sink(Protocol):
    """Destination of a stream's bytes; never blocks.

    A lost client is reported to the hub later and not raised. `chunked` is true if the bytes
    written must be HTTP chunks (HTTP/1.1).
    """

    chunked: bool

    def bind(self, stream: Stream) -> None:
        """Set the stream, which the sink reports to the hub as stuck, drained or lost."""

    def write(self, data: bytes) -> None:
        """Write bytes in order; may call `Hub.stuck` if the transport is full."""

    def close(self) -> None:
        """Send the written bytes, then end; abort if the client does not read."""


class State(StrEnum):
    """The state of a stream as shown to operators; see the table above."""

    LIVE = "live"
    LAGGING = "lagging"
    REPLAYING = "replaying"
    STUCK = "stuck"
    CLOSED = "closed"


class Stream:
    """One open response; only the hub modifies it."""

    __slots__ = (
        "address",
        "catching_up",
        "closed",
        "feeds",
        "filter",
        "groups",
        "issued_at",
        "key",
        "number",
        "opened",
        "sent",
        "session",
        "sink",
        "stuck_since",
        "version",
        "written",
    )

    def __init__(
        self,
        request: StreamRequest,
        feeds: tuple[PartitionFeed, ...],
        sink: Sink,
        opened: float,
        version: bytes = Version.ONE.encode(),
    ) -> None:
        # The request is not kept: the entries of its id would stay in memory.
        self.groups = request.groups
        """The record keys of the user's groups, by topic; of topics whose keys name groups."""
        self.version = version
        """The first character of the stream's ids."""
        self.number = 0
        """The stream's number on its worker, in opening order; shown to operators. `OpenStreams`
        sets it."""
        self.key = request.user
        """The user id in UTF-8."""
        self.feeds = feeds
        self.sink = sink
        self.filter = request.filter
        """The events that the stream receives; None: all events, also without a category."""
        self.session = request.session
        self.issued_at = request.issued_at
        """When its token was issued (Unix seconds), if the token contains it."""
        self.address = request.address
        """The client address, as limits count it; empty: not counted."""
        self.opened = opened
        """Monotonic seconds, as are all times of a stream."""
        self.written = opened
        """When bytes were last written to the sink."""
        self.stuck_since: float | None = None
        self.sent = 0
        """Number of events written to the sink."""
        self.closed = False
        self.catching_up: dict[PartitionFeed, CatchUpState] = {}

    @property
    def state(self) -> State:
        """The state shown to operators; see the table above."""
        if self.closed:
            return State.CLOSED
        if self.stuck_since is not None:
            return State.STUCK
        if not self.catching_up:
            return State.LIVE
        if any(state.scanning for state in self.catching_up.values()):
            return State.REPLAYING
        return State.LAGGING

    def wants(self, event: Event) -> bool:
        """Return whether the event matches the stream's filter."""
        return self.filter is None or self.filter.accepts(event)

    def position(self, feed: PartitionFeed) -> Position:
        """Return the stream's position in one of its partitions."""
        state = self.catching_up.get(feed)
        if state is not None:
            return state.position
        return feed.head

    def lag(self, now: int) -> int:
        """Return the stream's lag in ms: the largest of its partitions.

        Measured in record timestamps from its position to the tail's head, or to `now` (Unix ms) if
        the partition is not read. 0 if the stream is live, or without usable timestamps.
        """
        lag = 0
        for feed, state in self.catching_up.items():
            end = now if feed.tail is None else feed.tail.head.timestamp
            lag = max(lag, end - (state.position.timestamp or end))
        return lag

    def id(self, feed: PartitionFeed | None = None, entry: bytes = b"") -> bytes:
        """Return the stream's event id, with `entry` as the entry of `feed` if given."""
        entries = [entry if each is feed else self._entry(each) for each in self.feeds]
        return self.version + b"".join(entries)

    def id_around(self, feed: PartitionFeed) -> tuple[bytes, bytes]:
        """Return the parts of the stream's id before and after the entry of `feed`."""
        around = before = [self.version]
        after: list[bytes] = []
        for each in self.feeds:
            if each is feed:
                around = after
            else:
                around.append(self._entry(each) if self.catching_up else each.head_entry())
        return b"".join(before), b"".join(after)

    def _entry(self, feed: PartitionFeed) -> bytes:
        state = self.catching_up.get(feed)
        if state is None:
            return feed.head_entry()
        return state.reset_entry or feed.entry(state.position)
