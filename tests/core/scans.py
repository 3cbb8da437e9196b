"""Streams that wait for a scan, and the records that it reads."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.core.filter import Selection
from gateway.core.limits import Extent
from gateway.core.records import (
    Position,
    Record,
)
from gateway.core.scan import Scan
from gateway.core.stream import Stream
from tests.core.clients import Client
from tests.core.stage import Stage, stream_of, user_id


def waiting(
    stage: Stage, *positions: Position, selections: Sequence[Selection] = ()
) -> list[Stream]:
    """Return streams that wait for a scan; the tail begins at the partition's end."""
    streams = []
    for position in positions:
        client = stage.client(selections=selections)
        client.rogue = True
        client.last_id = user_id(position)
        streams.append(stream_of(client.connect(stage.worker)))
    stage.worker.woken.clear()
    return streams


def records(stage: Stage, first: int, end: int) -> list[Record]:
    return [w.record() for w in stage.kafka.records if first <= w.offset < end]


def client_of(stage: Stage, stream: Stream) -> Client:
    sink: object = stream.sink
    client: Client = sink.client  # type: ignore[attr-defined]
    return client


def located_scan(stage: Stage) -> Scan:
    """Return a scan over the whole partition, with its streams placed."""
    scan = stage.worker.hub.begin_scan(stage.feed)
    kafka = stage.kafka
    scan.begin(Extent(kafka.start, kafka.end, kafka.start, 0))
    scan.locate({})
    return scan
