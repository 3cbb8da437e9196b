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

In each partition a stream is in exactly one of these sets, and only `PartitionFeed` moves it:

    set                        | entered by              | left by
    ---------------------------+-------------------------+------------------------------------------
    live                       | `join`, from any other  | `fall_behind`, also by the hub after the
                               |                         | tail is gone; `remove`
    waiting for a scan, or in  | `wait`                  | the hub, when the scan ends; `remove`
    one                        |                         |
    parked: until the tail     | `park`                  | the hub, when the tail exists or has
    exists or reaches its      |                         | grown; `remove`
    position                   |                         |
    the hub's queue of streams | the hub                 | `join`, `wait`, `park`, a full transport
    to be advanced             |                         |
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gateway.core.event_id import (
    CursorEntry,
    Version,
    convert,
    encode_entries_after,
    encode_entry,
    encode_entry_after,
    short_tag,
)
from gateway.core.gap import Gap
from gateway.core.index import Index
from gateway.core.records import TIMESTAMP_LIMIT, LogKind, TimePosition

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.core.filter import EventFilter
    from gateway.core.gap import GapReason
    from gateway.core.records import Event, OffsetPosition, Position, Record, Topic, TopicPartition
    from gateway.core.tail import Tail


class Sink(Protocol):
    """Destination of a stream's bytes; never blocks.

    A lost client is reported to the hub later and not raised. `chunked` is true if the bytes
    written must be HTTP chunks (HTTP/1.1).
    """

    chunked: bool

    def bind(self, stream: Stream) -> None:
        """Set the stream, which the sink reports to the hub as stuck, drained or lost."""
        ...

    def write(self, data: bytes) -> None:
        """Write bytes in order; may call `Hub.stuck` if the transport is full."""
        ...

    def close(self) -> None:
        """Send the written bytes, then end; abort if the client does not read."""
        ...


class State(StrEnum):
    """The state of a stream as shown to operators; see the table above."""

    LIVE = "live"
    LAGGING = "lagging"
    REPLAYING = "replaying"
    STUCK = "stuck"
    CLOSED = "closed"


_NO_KEYS: tuple[bytes | None, ...] = (None,)
_NO_GROUPS: Mapping[str, tuple[bytes, ...]] = {}


class PartitionFeed:
    """One partition for the streams of this worker: its tail, and the streams by set.

    `tail` is None while the partition is not read: before its first stream, and while Kafka is
    unavailable before the first read.
    """

    __slots__ = (
        "_entry",
        "_entry_position",
        "_kind",
        "_tag",
        "_version",
        "former_head",
        "grouped",
        "index",
        "keyed",
        "live_by_group",
        "live_by_key",
        "live_unkeyed",
        "log",
        "parked",
        "shared",
        "streams",
        "tail",
        "topic",
        "waiting",
    )

    def __init__(self, log: TopicPartition, topic: Topic, version: Version = Version.ONE) -> None:
        self._version = version
        self.log = log
        self.renew(topic)
        self.keyed = topic.kind is not LogKind.BROADCAST
        """Whether a record's key selects its streams."""
        self.grouped = topic.kind is LogKind.GROUP
        """Whether a key selects the streams of a group; a stream may be in several."""
        self.shared = self.grouped or not self.keyed
        """Whether events are for streams of many users, which share their frames."""
        self.tail: Tail | None = None
        self.former_head: OffsetPosition | None = None
        """Without a tail: the position of the streams that are still in the live sets."""
        self.index = Index()
        """Index of the records that have left the tail, if keyed; empty without a tail."""
        self.streams = 0
        """Number of open streams that follow the partition, live or behind."""
        self.live_by_key: dict[bytes | None, list[Stream]] = {}
        """Live streams of a user partition, by record key."""
        self.live_by_group: dict[bytes | None, dict[Stream, None]] = {}
        """Live streams of a group partition, by record key: a group may have thousands."""
        self.live_unkeyed: dict[Stream, None] = {}
        """Live streams of the broadcast partition."""
        self.waiting: dict[Stream, CatchUpState] = {}
        """Streams that wait for a scan, in order of arrival."""
        self.parked: dict[Stream, None] = {}
        """Streams that wait until the tail exists or reaches their position."""
        self._entry = b""
        self._entry_position: Position | None = None

    @property
    def head(self) -> OffsetPosition:
        """The position of the live streams: the head of the tail, or of the one before."""
        head = self.former_head if self.tail is None else self.tail.head
        assert head is not None
        return head

    def renew(self, topic: Topic) -> None:
        """Set the topic, which has more partitions or was recreated."""
        self.topic = topic
        short = self._version is Version.TWO
        self._kind = None if short else topic.kind
        self._tag = short_tag(topic.mark, topic.tag) if short else topic.tag

    def entry(self, position: Position, partition: int | None = None) -> bytes:
        """Return the entry of an event id for a position in this partition.

        `partition` replaces its number in an entry that leads to a gap `reset`.
        """
        number = self.log.partition if partition is None else partition
        return encode_entry(self._kind, self._tag, number, position)

    def foreign_entry(self, entry: CursorEntry) -> bytes:
        """Return a client's entry of another incarnation or partition, to be kept in its ids."""
        topic = self.topic
        return encode_entry(*convert(entry, self._version, topic.kind, topic.mark))

    def owns(self, entry: CursorEntry) -> bool:
        """Return whether an entry, as this worker writes it, is of this partition's incarnation."""
        return (
            entry.partition == self.log[1] and entry.tag == self._tag and entry.kind is self._kind
        )

    def entries_after(self, records: Sequence[Record]) -> list[bytes]:
        """Return the entries of the positions after several records of this partition."""
        return encode_entries_after(self._kind, self._tag, self.log[1], records)

    def entry_after(self, record: Record) -> bytes:
        """Return the entry of the position after a record of this partition."""
        return encode_entry_after(
            self._kind, self._tag, self.log[1], record.offset, record.timestamp
        )

    def head_entry(self) -> bytes:
        """Return the entry of the head, encoded once for all live streams."""
        head = self.head
        if self._entry_position is not head:
            self._entry_position = head
            self._entry = self.entry(head)
        return self._entry

    def keys(self, stream: Stream) -> tuple[bytes | None, ...]:
        """Return the record keys that the stream reads here; (None,) without keys.

        A stream reads all its groups of the topic in each of the partitions that it follows:
        a record of a group is in one of them.
        """
        if not self.keyed:
            return _NO_KEYS
        if self.grouped:
            return stream.groups.get(self.topic.name, ())
        template = self.topic.key
        return (stream.key if template is None else template.key(stream.key),)

    def live(self) -> list[Stream]:
        """Return the live streams, each once."""
        if self.grouped:
            return list({stream: None for each in self.live_by_group.values() for stream in each})
        by_key = [stream for streams in self.live_by_key.values() for stream in streams]
        return [*self.live_unkeyed, *by_key]

    def gap(self, reason: GapReason, first: int | None, next_: int, since: int | None) -> Gap:
        """Return a gap of this partition from the offset `first` to before `next_`."""
        return Gap(reason, self.topic.kind, self.log.partition, first, next_, since)

    def join(self, stream: Stream) -> None:
        """Make a stream live that has every event up to the tail's head."""
        stream.catching_up.pop(self, None)
        if not self.keyed:
            self.live_unkeyed[stream] = None
        elif self.grouped:
            for key in self.keys(stream):
                self.live_by_group.setdefault(key, {})[stream] = None
        else:
            self.live_by_key.setdefault(self.keys(stream)[0], []).append(stream)

    def fall_behind(self, stream: Stream) -> None:
        """Remove the stream from the live set; it is behind at the tail's head."""
        self._remove_live(stream)
        stream.catching_up[self] = CatchUpState(self.head, checked=True)

    def park(self, stream: Stream) -> None:
        """Let the stream wait until the tail exists or reaches its position."""
        self.parked[stream] = None

    def wait(self, stream: Stream, state: CatchUpState) -> None:
        """Let the stream wait for the next scan."""
        state.scanning = True
        self.waiting[stream] = state

    def remove(self, stream: Stream) -> None:
        """Remove the stream from whichever set it is in; the hub removes it from a scan."""
        self.streams -= 1
        if stream.catching_up.pop(self, None) is None:
            self._remove_live(stream)
        self.parked.pop(stream, None)
        self.waiting.pop(stream, None)

    def _remove_live(self, stream: Stream) -> None:
        if not self.keyed:
            del self.live_unkeyed[stream]
            return
        for key in self.keys(stream):
            if self.grouped:
                members = self.live_by_group[key]
                del members[stream]
                if not members:
                    del self.live_by_group[key]
            else:
                streams = self.live_by_key[key]
                streams.remove(stream)
                if not streams:
                    del self.live_by_key[key]


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

    def reset(self, feed: PartitionFeed, position: OffsetPosition) -> None:
        """Reset a position of another incarnation: send a gap, continue by its timestamp."""
        self.reset_entry = feed.entry(position)
        self.position = TimePosition(min(position.timestamp, self.latest))
        self.until = None
        self.checked = self.limited = False


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
        key: bytes,
        feeds: tuple[PartitionFeed, ...],
        sink: Sink,
        *,
        filter: EventFilter | None,  # noqa: A002 - the name of the attribute
        session: str | None,
        opened: float,
        issued_at: float | None = None,
        address: str = "",
        number: int = 0,
        version: bytes = Version.ONE.encode(),
        groups: Mapping[str, tuple[bytes, ...]] = _NO_GROUPS,
    ) -> None:
        self.groups = groups
        """The record keys of the user's groups, by topic; of topics whose keys name groups."""
        self.version = version
        """The first character of the stream's ids."""
        self.number = number
        """The stream's number on its worker, in opening order; shown to operators."""
        self.key = key
        """The user id in UTF-8."""
        self.feeds = feeds
        self.sink = sink
        self.filter = filter
        """The events that the stream receives; None: all events, also without a category."""
        self.session = session
        self.issued_at = issued_at
        """When its token was issued (Unix seconds), if the token contains it."""
        self.address = address
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
        index = self.feeds.index(feed)
        before = [self._entry(each) for each in self.feeds[:index]]
        after = [self._entry(each) for each in self.feeds[index + 1 :]]
        return b"".join([self.version, *before]), b"".join(after)

    def _entry(self, feed: PartitionFeed) -> bytes:
        state = self.catching_up.get(feed)
        if state is None:
            return feed.head_entry()
        return state.reset_entry or feed.entry(state.position)
