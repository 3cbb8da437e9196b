"""Partition feed: one partition as the streams of this worker follow it.

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

from typing import TYPE_CHECKING

from gateway.core.catch_up_state import CatchUpState
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
from gateway.core.records import LogKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.gap import GapReason
    from gateway.core.records import OffsetPosition, Position, Record, TopicPartition
    from gateway.core.source import Topic
    from gateway.core.stream import Stream
    from gateway.core.tail import Tail

_NO_KEYS: tuple[bytes | None, ...] = (None,)


class PartitionFeed:
    """One partition for the streams of this worker: its tail, and the streams by set.

    `tail` is None while the partition is not read: before its first stream, and while Kafka is
    unavailable before the first read.
    """

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
        tail = self.tail
        head = self.head if tail is None else tail.head
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
