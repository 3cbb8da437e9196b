"""A worker's status: the JSON document that each worker writes to the fleet every few seconds.

Writer and reader may be of different versions: unknown fields are ignored, missing ones have a
default, and an unknown state reads as `not_ready`. A status is accepted as a whole or rejected:
`read_status` checks each number, length and relation that other code relies on, since every worker
reads a bad record of the compacted topic, and reads it again after each restart.

Counts are totals since the start of the worker, so that fleet totals are sums; rates cover the time
since the previous status. The size is bounded for any load: reasons are the gateway's own, and only
the busiest partitions are listed.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from gateway.core.records import TIMESTAMP_LIMIT, LogKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_PARTITIONS = 256
"""Partitions in a status: 24 KB, of the 1 MB that a record may have."""

MAX_DETAIL = 500
"""Characters in the detail of a not-ready reason, which may quote a broker."""

MAX_BOUNDS = 100
"""Histogram bounds that are read; this version writes 17."""

# Limits for reading. Sums over a fleet stay finite, and a status costs some 100 KB at most.
_Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
_Number = Annotated[float, Meta(ge=0, le=1e30)]
_Time = Annotated[int, Meta(ge=0, lt=TIMESTAMP_LIMIT)]
_Name = Annotated[str, Meta(min_length=1, max_length=250)]
_Text = Annotated[str, Meta(max_length=1000)]
_Counts = Annotated[dict[Annotated[str, Meta(max_length=64)], _Count], Meta(max_length=64)]


class WorkerState(StrEnum):
    """The states of a worker."""

    STARTING = "starting"
    """It has never been ready, and opens no streams."""
    READY = "ready"
    NOT_READY = "not_ready"
    """It has been ready before; it keeps its streams and opens new ones."""
    DRAINING = "draining"
    GONE = "gone"
    """It has stopped, or its statuses have stopped."""

    @classmethod
    def _missing_(cls, _: object) -> WorkerState:
        """Return `NOT_READY` for a state that only a later version knows."""
        return cls.NOT_READY


class StatedDoubt(msgspec.Struct, frozen=True):
    """Why a worker is not ready."""

    reason: _Text
    detail: _Text


class PartitionLoad(msgspec.Struct, frozen=True):
    """The load of one partition that the worker reads."""

    log: LogKind
    partition: _Count
    records_per_second: _Number = 0.0
    """An upper bound, from offsets: transactions and compaction leave holes."""
    streams: _Count = 0
    lag: _Count = 0
    """Records that the broker has and the worker has not read; an upper bound."""
    topic: Annotated[str, Meta(max_length=249)] | msgspec.UnsetType = msgspec.UNSET
    """The topic of a worker with a file of sources; absent if `log` identifies it."""


class DeliveryTimes(msgspec.Struct, frozen=True):
    """Record timestamp to socket write of live events: seconds, since the start of the worker.

    Raises `ValueError` for a histogram whose bounds do not ascend or do not match its counts.
    """

    bounds: Annotated[tuple[_Number, ...], Meta(max_length=MAX_BOUNDS)] = ()
    counts: Annotated[tuple[_Count, ...], Meta(max_length=MAX_BOUNDS + 1)] = ()
    """Events up to each bound and above the previous one; the last: events above all bounds."""
    sum: _Number = 0.0
    p50: _Number | None = None
    """Percentiles of the events since the previous status; None: no events."""
    p99: _Number | None = None

    def __post_init__(self) -> None:
        if not self.bounds and not self.counts:
            return
        if not self.bounds or len(self.counts) != len(self.bounds) + 1:
            raise ValueError("a histogram has one count more than bounds")
        if any(lower >= upper for lower, upper in pairwise(self.bounds)):
            raise ValueError("the bounds of a histogram ascend")


class Sighting(msgspec.Struct, frozen=True):
    """The position of a faulty record, and the fault."""

    topic: _Name
    partition: _Count
    offset: _Count
    reason: _Text


class TimeOff(msgspec.Struct, frozen=True):
    """A record whose timestamp cannot be the time at which it was written."""

    topic: _Name
    partition: _Count
    offset: _Count
    seconds: Annotated[int, Meta(ge=-TIMESTAMP_LIMIT, le=TIMESTAMP_LIMIT)]
    """Timestamp minus the clock of the worker that read the record; negative: behind."""


class ShortRetention(msgspec.Struct, frozen=True):
    """A topic that keeps its records for less time than the replay age."""

    topic: _Name
    kept_seconds: _Number
    promised_seconds: _Number


class UnreadPartition(msgspec.Struct, frozen=True):
    """A partition with streams that is not read at present, and the reason."""

    topic: _Name
    partition: _Count
    reason: _Text


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """One worker at one time."""

    worker: _Name
    number: _Count
    """Counts the statuses of the worker: the higher number is later, whatever clocks say."""
    state: WorkerState
    doubts: Annotated[tuple[StatedDoubt, ...], Meta(max_length=64)] = ()
    version: _Text = ""
    at: _Time = 0
    """When it was written, by the worker's clock: Unix ms; 0: not stated."""
    since: _Text = ""
    """When the worker started, by its own clock: RFC 3339."""
    ops_url: _Text = ""
    """Its operations listener by its own view; other hosts may need another address."""
    streams: _Count = 0
    streams_stuck: _Count = 0
    connections: _Count = 0
    events: _Counts = {}
    """Written to streams, by path: live, tail, replay."""
    events_per_second: _Number = 0.0
    records: _Count = 0
    """Read by the live reader."""
    records_per_second: _Number = 0.0
    lag: _Count = 0
    replays_running: _Count = 0
    replays_waiting: _Count = 0
    """Streams that wait for a replay or take part in one."""
    tail_bytes: _Count = 0
    """Memory of all tails and their indexes."""
    gaps: _Counts = {}
    closes: _Counts = {}
    rejects: _Counts = {}
    unreadable: _Counts = {}
    unreadable_last: Sighting | None = None
    unknown_types: _Count = 0
    partitioner_mismatches: _Count = 0
    mismatch_last: Sighting | None = None
    """Its reason is the partitioner that fits."""
    time_off: TimeOff | None = None
    """The worst recent one; None: none."""
    short_retentions: Annotated[tuple[ShortRetention, ...], Meta(max_length=64)] = ()
    """As the brokers report; empty if they do not."""
    resident_bytes: _Count = 0
    cpu_seconds: _Number = 0.0
    cpu_share: _Number = 0.0
    """Of one core."""
    loop_delay_seconds: _Number = 0.0
    """The longest delay of the event loop since the previous status."""
    delivery: DeliveryTimes = DeliveryTimes()
    partitions_read: _Count = 0
    partitions_unread: _Count = 0
    """Partitions with streams that are not read, though a broker may answer."""
    unread_first: UnreadPartition | None = None
    partitions: Annotated[tuple[PartitionLoad, ...], Meta(max_length=4 * MAX_PARTITIONS)] = ()
    """At most `MAX_PARTITIONS`: partitions with lag first, then the busiest."""


_decoder = msgspec.json.Decoder(Status)


def write_status(status: Status) -> bytes:
    """Return the value of the status record; its key is the worker name."""
    return msgspec.json.encode(status)


def read_status(key: bytes, value: bytes) -> Status | None:
    """Return the status in a record; None if invalid or if its worker is not the key."""
    try:
        status = _decoder.decode(value)
        return status if status.worker.encode() == key else None
    except (ValueError, RecursionError):  # ValueError: of msgspec, of an invalid character
        return None


def busiest(loads: Iterable[PartitionLoad]) -> tuple[PartitionLoad, ...]:
    """Return the partitions that a status lists, ordered by topic kind and number."""
    found = sorted(loads, key=lambda load: (-load.lag, -load.records_per_second, -load.streams))
    return tuple(
        sorted(
            found[:MAX_PARTITIONS],
            key=lambda load: (load.log, load.topic or "", load.partition),
        )
    )


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """Return the value that `share` (0 to 1) of the counted values do not exceed.

    Interpolates linearly within a bucket, as Prometheus does. Values above all bounds count as the
    highest bound. None where nothing was counted.
    """
    assert len(counts) == len(bounds) + 1
    wanted = share * sum(counts)
    if not wanted:
        return None
    lower, below = 0.0, 0
    for bound, count in zip(bounds, counts, strict=False):
        if below + count >= wanted:
            return lower + (bound - lower) * (wanted - below) / count
        lower, below = bound, below + count
    return lower
