"""Delivery: write the events of fetched records to the live streams.

Each event is framed once for all streams with the same cursor, and each stream gets one write for
a batch. This is the hot path, executed for every event and every stream: work is shared where
possible, and no object is built that is not written.

One step builds bytes for thousands of streams, and several steps write them. Until then, all other
writes to a stream go through `Outbox.write`, which writes the pending bytes first: the id of a
later write may claim that the client has received them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core import frame
from gateway.core.budget import BYTES, WRITE
from gateway.core.observer import Path
from gateway.core.runs import PIECE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gateway.core.budget import Budget
    from gateway.core.containment import Contain
    from gateway.core.feed import PartitionFeed
    from gateway.core.filter import EventFilter
    from gateway.core.interpreter import Interpreter
    from gateway.core.observer import Observer
    from gateway.core.records import Moment, Record, TopicPartition
    from gateway.core.stream import Stream

MOST_RECORDS = 500
"""Records dispatched in one step: some 3 ms if each has a stream."""

MOST_SHARES = 2000
"""Streams of the groups of one step, each counted once for consecutive records of the group."""


class _Share:
    """The bytes of one batch for all streams with the same cursor and filter."""

    __slots__ = ("data", "events", "filter", "streams")

    def __init__(self, frames: list[bytes], chosen: EventFilter | None) -> None:
        self.data = frames[0] if len(frames) == 1 else b"".join(frames)
        self.events = len(frames)
        self.filter = chosen
        self.streams = 0


class Outbox:
    """Pending bytes of live events, and the one way to write to a sink.

    `failed` collects streams whose sinks raised; the hub closes them.
    """

    def __init__(self, interpreter: Interpreter, observer: Observer, contain: Contain) -> None:
        self.interpreter = interpreter
        self._observer = observer
        self.contain = contain
        self._waiting: dict[Stream, bytes | list[bytes]] = {}
        self._deliveries: list[tuple[int, int]] = []
        """For each event its timestamp (ms) and its number of streams."""
        self.failed: list[Stream] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, feed: PartitionFeed, records: Sequence[Record]) -> int:
        """Frame records for the live streams of a partition; return the number of frames.

        `records` are in order. Streams that are addressed by a broadcast or a group must also be
        live in every other partition that they follow.
        """
        if not feed.keyed:
            return self._add_to_all(feed, records, feed.live_unkeyed) if feed.live_unkeyed else 0
        if feed.grouped:
            return sum(
                [
                    self._add_to_all(feed, run, feed.live_by_group[run[0].key])
                    for run in runs_of_groups(feed, records)
                ]
            )
        live = feed.live_by_key
        around: dict[tuple[PartitionFeed, ...], tuple[bytes, bytes]] = {}
        framed = 0
        for record in records:
            streams = live.get(record.key)
            if streams is not None:
                self._add(feed, record, streams, around)
                framed += len(streams)
        return framed

    def flush(self, budget: Budget, moment: Moment) -> None:
        """Write pending bytes to their sinks as far as the budget allows."""
        waiting, written, left = self._waiting, moment.monotonic, budget.left
        while waiting and left > 0:
            with self.contain() as contained:
                while waiting and left > 0:
                    stream, data = waiting.popitem()
                    if isinstance(data, list):
                        data = b"".join(data)
                    left -= WRITE + len(data) // BYTES
                    stream.written = written
                    stream.sink.write(data)
            if contained.failed:
                self.failed.append(stream)
        budget.left = left
        if self._deliveries and not waiting:
            deliveries, self._deliveries = self._deliveries, []
            self._observer.sent(Path.LIVE, deliveries, moment)

    def write(self, stream: Stream, data: bytes, moment: Moment) -> None:
        """Write bytes to the stream's sink, chunked if required, after its pending bytes."""
        self.send(stream, moment)
        stream.written = moment.monotonic
        stream.sink.write(frame.chunk(data) if stream.sink.chunked else data)

    def send(self, stream: Stream, moment: Moment) -> None:
        """Write the stream's pending bytes to its sink, if any."""
        data = self._waiting.pop(stream, None)
        if data is not None:
            stream.written = moment.monotonic
            stream.sink.write(b"".join(data) if isinstance(data, list) else data)

    def drop(self, stream: Stream) -> None:
        """Discard the pending bytes of a stream that has ended."""
        self._waiting.pop(stream, None)

    def _add(
        self,
        feed: PartitionFeed,
        record: Record,
        streams: Sequence[Stream],
        arounds: dict[tuple[PartitionFeed, ...], tuple[bytes, bytes]],
    ) -> None:
        event = self.interpreter.decode(feed, record)
        if event is None:
            return
        entry, body = feed.entry_after(record), event.body
        waiting = self._waiting
        number = 0
        last, shared = None, b""
        for stream in streams:
            if stream.filter is not None and not stream.filter.accepts(event):
                continue
            feeds = stream.feeds
            if stream.catching_up or not stream.sink.chunked:
                event_id = stream.id(feed, entry)
                data = frame.event(event_id, body, chunked=stream.sink.chunked)
            elif feeds == last:
                data = shared
            else:
                # While records of one partition are added, no other partition's head moves.
                around = arounds.get(feeds)
                if around is None:
                    around = arounds[feeds] = stream.id_around(feed)
                before, after = around
                data = shared = frame.event(before + entry + after, body, chunked=True)
                last = feeds
            stream.sent += 1
            if stream in waiting:
                self._put(stream, data)
            else:
                waiting[stream] = data
            number += 1
        if number:
            self._deliveries.append((record.timestamp, number))

    def _add_to_all(
        self, feed: PartitionFeed, records: Sequence[Record], streams: Iterable[Stream]
    ) -> int:
        """Frame records for all of `streams`, once for each cursor."""
        decoded = [(record, self.interpreter.decode(feed, record)) for record in records]
        events = [
            (record.timestamp, event, feed.entry_after(record))
            for record, event in decoded
            if event is not None
        ]
        if not events:
            return 0
        waiting = self._waiting
        shares: dict[object, _Share] = {}
        for stream in streams:
            chunked, chosen = stream.sink.chunked, stream.filter
            plain = chunked and chosen is None
            key = stream.feeds if plain else (stream.feeds, chosen, chunked)
            share = shares.get(key)
            if share is None:
                before, after = stream.id_around(feed)
                share = shares[key] = _Share(
                    [
                        frame.event(before + entry + after, event.body, chunked=chunked)
                        for _, event, entry in events
                        if chosen is None or chosen.accepts(event)
                    ],
                    chosen,
                )
            if share.events:
                share.streams += 1
                stream.sent += share.events
                if stream in waiting:
                    self._put(stream, share.data)
                else:
                    waiting[stream] = share.data
        for share in shares.values():
            self._deliveries += [
                (timestamp, share.streams)
                for timestamp, event, _ in events
                if share.filter is None or share.filter.accepts(event)
            ]
        return sum([share.events for share in shares.values()])

    def _put(self, stream: Stream, data: bytes) -> None:
        """Add bytes to those of a stream that has pending ones."""
        before = self._waiting[stream]
        if isinstance(before, list):
            before.append(data)
        else:
            self._waiting[stream] = [before, data]


def addressees(feed: PartitionFeed, records: Sequence[Record]) -> Iterable[Stream]:
    """Return the live streams to which records of a broadcast or group partition go."""
    if not feed.grouped:
        return feed.live_unkeyed
    groups = feed.live_by_group
    keys = {record.key for record in records if record.key in groups}
    return {stream: None for key in keys for stream in groups[key]}


def runs_of_groups(feed: PartitionFeed, records: Sequence[Record]) -> list[list[Record]]:
    """Return the records of groups with live streams: runs of consecutive records of a group."""
    groups = feed.live_by_group
    runs: list[list[Record]] = []
    for record in records:
        if record.key in groups:
            if runs and runs[-1][0].key == record.key:
                runs[-1].append(record)
            else:
                runs.append([record])
    return runs


def pieces(
    batches: Mapping[TopicPartition, Sequence[Record]],
    feeds: Mapping[TopicPartition, PartitionFeed],
) -> Iterator[Mapping[TopicPartition, Sequence[Record]]]:
    """Yield the batches, split into pieces that one step can dispatch.

    In a broadcast or group partition a piece is at most what fills a transport. A full transport
    does not get the next piece; otherwise thousands of clients that do not read would each hold a
    whole batch. Records that alternate between groups are framed one by one for each of their
    streams, at most `MOST_SHARES` in a piece, but at least one record.
    """
    count = 0
    for log, records in batches.items():
        count += len(records)
        feed = feeds[log]
        if feed.shared and (feed.grouped or sum([record.size for record in records]) > PIECE):
            break
    else:
        if count <= MOST_RECORDS:
            yield batches
            return
    for log, records in batches.items():
        feed = feeds[log]
        groups = feed.live_by_group
        begin = size = shares = 0
        last = None
        for index, record in enumerate(records, 1):
            size += 0 if feed.keyed and not feed.grouped else record.size
            if record.key in groups and record.key != last:
                last = record.key
                shares += len(groups[last])
            if size > PIECE or shares > MOST_SHARES or index - begin == MOST_RECORDS:
                yield {log: records[begin:index]}
                begin, size, shares, last = index, 0, 0, None
        if begin < len(records):
            yield {log: records[begin:]}
