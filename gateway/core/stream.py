"""A stream: one open SSE response of one user, and how far it is in each log that it follows.

A stream is *live* in a partition when it has every event up to the head of the partition's tail:
its position is the head, and the hub stores nothing for it. Otherwise the stream is *behind*, and a
`CatchUpState` holds its position:

    state      | means                                                   | left by
    -----------+---------------------------------------------------------+---------------------------
    live       | behind in no log                                        | its transport fills up
    lagging    | behind, and will be brought up from the tail            | `Hub.step`
    replaying  | behind, and waits for or takes part in a scan of Kafka  | the end of the scan
    stuck      | its transport is full; behind in every log, and nothing | the transport drains, or
               | is written to it                                        | `slow` ends it
    closed     | ended; the hub does not know it any more                | never

A stream can be live in one log and behind in another, so that a partition whose leader is away does
not hold back the others. The state is derived, never stored.

In each log it is in exactly one of these places, and only the methods of `PartitionFeed` move it:

    where                      | it gets there by        | and leaves by
    ---------------------------+-------------------------+------------------------------------------
    live                       | `join`, from any other  | `fall_behind`, `leave`
    waiting for a scan, or in  | `wait`                  | the hub, when the scan is over; `leave`
    one                        |                         |
    parked: for the tail to be | `park`                  | the hub, when the tail is there or moves
    there, or to come up to it |                         | on; `leave`
    the hub's queue of streams | the hub                 | `join`, `wait`, `park`, a full transport
    to be brought up           |                         |
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gateway.core.event_id import VERSION, encode_entry, encode_entry_after
from gateway.core.gap import Gap
from gateway.core.index import Index
from gateway.core.records import TIMESTAMP_LIMIT, LogKind, TimePosition

if TYPE_CHECKING:
    from gateway.core.gap import GapReason
    from gateway.core.records import Event, OffsetPosition, Position, Record, Topic, TopicPartition
    from gateway.core.tail import Tail


class Sink(Protocol):
    """Where a stream's bytes go. Never blocks; a lost client is reported later, not raised.

    `chunked` says whether what is written has to be framed as chunks (HTTP/1.1).
    """

    chunked: bool

    def bind(self, stream: Stream) -> None:
        """Belong to this stream: tell the hub when it is stuck, drained or lost. Called first."""
        ...

    def write(self, data: bytes) -> None:
        """Take the bytes, in order; may report from within that the transport is full."""
        ...

    def close(self) -> None:
        """Send what was taken, then end; give up on a client that does not read."""
        ...


class State(StrEnum):
    """What an operator is told of a stream; the table above."""

    LIVE = "live"
    LAGGING = "lagging"
    REPLAYING = "replaying"
    STUCK = "stuck"
    CLOSED = "closed"


class PartitionFeed:
    """One log as the streams of this worker follow it: its tail, and who is live in it.

    `tail` is None while the log is not read: before its first stream, and while Kafka is away
    without having been read before.
    """

    __slots__ = (
        "_entry",
        "_entry_position",
        "index",
        "keyed",
        "live_by_key",
        "live_unkeyed",
        "log",
        "parked",
        "streams",
        "tail",
        "topic",
        "waiting",
    )

    def __init__(self, log: TopicPartition, topic: Topic) -> None:
        self.log = log
        self.topic = topic
        self.keyed = topic.kind is LogKind.USER
        self.tail: Tail | None = None
        self.index = Index()
        """Of what has left the tail, in a log with keys; empty while there is no tail."""
        self.streams = 0
        """Open streams that follow the log, live or not."""
        self.live_by_key: dict[bytes | None, list[Stream]] = {}
        """Live streams of a log with keys, by user key."""
        self.live_unkeyed: dict[Stream, None] = {}
        """Live streams of a log without."""
        self.waiting: dict[Stream, CatchUpState] = {}
        """Streams that wait for a scan, in the order they came."""
        self.parked: dict[Stream, None] = {}
        """Streams that wait for the tail: to be there, or to come up to where they are."""
        self._entry = b""
        self._entry_position: Position | None = None

    def entry(self, position: Position) -> bytes:
        """Return the part of an event id that says `place` of this log."""
        return encode_entry(self.topic.kind, self.topic.tag, self.log.partition, position)

    def entry_after(self, record: Record) -> bytes:
        """Return the mark of the position after a record of this log."""
        topic = self.topic
        return encode_entry_after(
            topic.kind, topic.tag, self.log[1], record.offset, record.timestamp
        )

    def head_entry(self) -> bytes:
        """Return the mark of the head; encoded once for all streams that are live here."""
        assert self.tail is not None
        if self._entry_position is not self.tail.head:
            self._entry_position = self.tail.head
            self._entry = self.entry(self._entry_position)
        return self._entry

    def gap(self, reason: GapReason, first: int | None, next_: int, since: int | None) -> Gap:
        """Return a gap of this log, from the offset `first` up to `next_`."""
        return Gap(reason, self.topic.kind, self.log.partition, first, next_, since)

    def join(self, stream: Stream) -> None:
        """Make the stream, which has everything up to the tail's head, live here."""
        stream.catching_up.pop(self, None)
        if self.keyed:
            self.live_by_key.setdefault(stream.key, []).append(stream)
        else:
            self.live_unkeyed[stream] = None

    def fall_behind(self, stream: Stream) -> None:
        """Let the stream, which is live here, stay where it is: at the tail's head."""
        assert self.tail is not None
        self._remove_live(stream)
        stream.catching_up[self] = CatchUpState(self.tail.head, checked=True)

    def park(self, stream: Stream) -> None:
        """Let the stream wait for the tail: to be there, or to come up to where it is."""
        self.parked[stream] = None

    def wait(self, stream: Stream, state: CatchUpState) -> None:
        """Let the stream wait for a scan."""
        state.scanning = True
        self.waiting[stream] = state

    def remove(self, stream: Stream) -> None:
        """Forget the stream, wherever it is here; the hub takes it out of a scan."""
        self.streams -= 1
        if stream.catching_up.pop(self, None) is None:
            self._remove_live(stream)
        self.parked.pop(stream, None)
        self.waiting.pop(stream, None)

    def _remove_live(self, stream: Stream) -> None:
        if self.keyed:
            streams = self.live_by_key[stream.key]
            streams.remove(stream)
            if not streams:
                del self.live_by_key[stream.key]
        else:
            del self.live_unkeyed[stream]


class Found:
    """Events that a scan has found, oldest first, for all streams that look for the same.

    Only appended to, so that parts of it can be shared.
    """

    __slots__ = ("records",)

    def __init__(self, records: list[Record] | None = None) -> None:
        self.records: list[Record] = [] if records is None else records


class Part(NamedTuple):
    """The part of what was found that one stream has to be sent: from `begin` up to `end`."""

    found: Found
    begin: int
    end: int


class CatchUpState:
    """Where a stream is in a log that it is not live in.

    `backlog` is what a scan has found for it and has not been written yet: parts of what was found,
    and gaps; `then` is its place when the backlog is empty.
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
        """When the stream was opened (Unix ms): an id that speaks of a later time means now."""
        self.checked = checked
        """False while the place is a client's word, and has not been held against the log."""
        self.ahead = False
        """Whether the log reaches to the place although the tail, which lags behind, does not."""
        self.limited = checked
        """False while the limits have not been applied. They bound a replay, and a resume from
        memory just as well; a stream that lags behind the tail's head has no need of them."""
        self.reset_entry = reset_entry
        """The client's own mark, if it leads to a gap `reset`: it stays in the stream's ids until
        the gap is told, so that a client that drops before is told when it comes back."""
        self.until: int | None = None
        """Where the log ended when the stream first asked for what it had missed: events from here
        on are live, and do not count against the limits. None: it has not asked yet."""
        self.backlog: list[Part | Gap] = []
        self.next_position: Position | None = None
        self.scanning = False
        """Whether it waits for a scan or takes part in one."""

    def reset(self, feed: PartitionFeed, position: OffsetPosition) -> None:
        """Take the place as one of another log: go on from its time, and tell the gap first."""
        self.reset_entry = feed.entry(position)
        self.position = TimePosition(min(position.timestamp, self.latest))
        self.until = None
        self.checked = self.limited = False


class Stream:
    """One open response. Only the hub changes it."""

    __slots__ = (
        "address",
        "catching_up",
        "categories",
        "closed",
        "feeds",
        "issued_at",
        "key",
        "number",
        "opened",
        "sent",
        "session",
        "sink",
        "stuck_since",
        "written",
    )

    def __init__(
        self,
        key: bytes,
        feeds: tuple[PartitionFeed, ...],
        sink: Sink,
        *,
        categories: frozenset[str] | None,
        session: str | None,
        opened: float,
        issued_at: float | None = None,
        address: str = "",
        number: int = 0,
    ) -> None:
        self.number = number
        """Which stream of its worker's it is, in the order of opening: what operators call it."""
        self.key = key
        """The user id in UTF-8: the record key."""
        self.feeds = feeds
        self.sink = sink
        self.categories = categories
        """Categories that the client wants; None: everything, types without a category too."""
        self.session = session
        self.issued_at = issued_at
        """When its token was issued, in Unix seconds, if the token says so."""
        self.address = address
        """Where the client comes from, as limits count it; empty: it does not matter."""
        self.opened = opened
        """Monotonic seconds, as all times of a stream."""
        self.written = opened
        """When bytes were last handed to the sink."""
        self.stuck_since: float | None = None
        self.sent = 0
        """Events handed to the sink."""
        self.closed = False
        self.catching_up: dict[PartitionFeed, CatchUpState] = {}

    @property
    def state(self) -> State:
        """What an operator is told; see the table above."""
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
        """Whether the client asked for events like this one."""
        return self.categories is None or event.category in self.categories

    def position(self, feed: PartitionFeed) -> Position:
        """Return how far the stream is in one of its logs."""
        state = self.catching_up.get(feed)
        if state is not None:
            return state.position
        assert feed.tail is not None
        return feed.tail.head

    def lag(self, now: int) -> int:
        """Return by how many ms of its logs the stream is behind, in the one where it is most.

        Counted from its place to the tail's head, by the records' own time, or where nobody reads
        the log to `now` (Unix ms). 0 where it is live, and where the records tell no time.
        """
        lag = 0
        for feed, state in self.catching_up.items():
            end = now if feed.tail is None else feed.tail.head.timestamp
            lag = max(lag, end - (state.position.timestamp or end))
        return lag

    def id(self, feed: PartitionFeed | None = None, entry: bytes = b"") -> bytes:
        """Return the stream's cursor as an event id, with `mark` standing for `feed` if given."""
        entries = [entry if each is feed else self._entry(each) for each in self.feeds]
        return VERSION + b"".join(entries)

    def id_around(self, feed: PartitionFeed) -> tuple[bytes, bytes]:
        """Return what stands before and behind the mark of `feed` in the stream's id."""
        index = self.feeds.index(feed)
        before = [self._entry(each) for each in self.feeds[:index]]
        after = [self._entry(each) for each in self.feeds[index + 1 :]]
        return b"".join([VERSION, *before]), b"".join(after)

    def _entry(self, feed: PartitionFeed) -> bytes:
        state = self.catching_up.get(feed)
        if state is None:
            return feed.head_entry()
        return state.reset_entry or feed.entry(state.position)
