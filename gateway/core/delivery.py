"""A delivery: what one fetched batch brings to the streams that are live.

Each event is framed once for all streams with the same cursor, and each stream that is touched gets
one write with everything for it. This is done for every event and every stream, so that what could
be done once is, and nothing is made that is not written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core import frame
from gateway.core.catch_up import PIECE
from gateway.core.log import Position
from gateway.core.observer import Path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.core.interpreter import Interpreter
    from gateway.core.log import Log, Moment, Record
    from gateway.core.observer import Observer
    from gateway.core.stream import Feed, Stream


class Delivery:
    """Events on their way: `add` what each log brings, then `write`."""

    __slots__ = ("_around", "_deliveries", "_interpreter", "_touched")

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter
        self._touched: dict[Stream, bytes | list[bytes]] = {}
        self._deliveries: list[tuple[int, int]] = []
        """For each event its timestamp (ms) and its number of streams."""
        self._around: dict[tuple[Feed, ...], tuple[bytes, bytes]] = {}
        """What stands before and behind the mark of the log in the ids of those who are live in all
        of their logs: while the records of one log are added, no other log's head moves."""

    def add(self, feed: Feed, records: Sequence[Record]) -> None:
        """Take the records of a log, oldest first, for those who are live in it."""
        self._around.clear()
        if feed.keyed:
            live = feed.live
            for record in records:
                streams = live.get(record.key)
                if streams is not None:
                    self._add(feed, record, streams)
        elif feed.everyone:
            for record in records:
                self._add(feed, record, feed.everyone)

    def write(self, observer: Observer, moment: Moment) -> None:
        """Hand each stream what there is for it."""
        written = moment.monotonic
        for stream, frames in self._touched.items():
            if isinstance(frames, list):
                stream.sent += len(frames)
                frames = b"".join(frames)
            else:
                stream.sent += 1
            stream.written = written
            stream.sink.write(frames)
        if self._deliveries:
            observer.sent(Path.LIVE, self._deliveries, moment)

    def _add(
        self, feed: Feed, record: Record, streams: Sequence[Stream] | Mapping[Stream, None]
    ) -> None:
        event = self._interpreter.decode(feed, record)
        if event is None:
            return
        mark = feed.mark(Position.after(record))
        touched, body = self._touched, event.body
        framed: dict[tuple[Feed, ...], bytes] = {}
        number = 0
        for stream in streams:
            if stream.categories is not None and event.category not in stream.categories:
                continue
            feeds = stream.feeds
            if stream.behind or not stream.sink.chunked:
                event_id = stream.id(feed, mark)
                data = frame.event(event_id, body, chunked=stream.sink.chunked)
            elif (shared := framed.get(feeds)) is not None:
                data = shared
            else:
                around = self._around.get(feeds)
                if around is None:
                    around = self._around[feeds] = stream.id_around(feed)
                data = frame.event(around[0] + mark + around[1], body, chunked=True)
                framed[feeds] = data
            before = touched.get(stream)
            if before is None:
                touched[stream] = data
            elif isinstance(before, list):
                before.append(data)
            else:
                touched[stream] = [before, data]
            number += 1
        if number:
            self._deliveries.append((record.timestamp, number))


def pieces(
    batches: Mapping[Log, Sequence[Record]], feeds: Mapping[Log, Feed]
) -> Iterator[Mapping[Log, Sequence[Record]]]:
    """Yield the batches, cut where a log without keys has more than a piece for everybody.

    A transport that is full after one piece is not given the others: thousands of clients that do
    not read would each hold a whole batch.
    """
    whole = {log: records for log, records in batches.items() if feeds[log].keyed}
    shared = [log for log in batches if log not in whole]
    if all(sum([record.size for record in batches[log]]) <= PIECE for log in shared):
        yield batches
        return
    yield whole
    for log in shared:
        piece: list[Record] = []
        size = 0
        for record in batches[log]:
            piece.append(record)
            size += record.size
            if size > PIECE:
                yield {log: piece}
                piece, size = [], 0
        if piece:
            yield {log: piece}
