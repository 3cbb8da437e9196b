"""A worker's status: what it tells the fleet of itself every few seconds, as one JSON document.

A reader may be of another version than the writer, so what is not known is passed over, and what is
missing has a default. Counts are since the worker's start, so that a fleet's are sums; rates are of
the time since the status before. A status is bounded, whatever clients and producers do: reasons
are the gateway's own, and of the partitions only the busiest are told.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from gateway.core.log import LogKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_PARTITIONS = 256
"""Partitions in a status: 24 KB, where a record may have a million bytes."""

MAX_DETAIL = 500
"""Characters of a doubt's detail: it may quote a broker."""


class WorkerState(StrEnum):
    """What a worker is about."""

    STARTING = "starting"
    """It has never been ready, and opens no stream."""
    READY = "ready"
    NOT_READY = "not_ready"
    """It was ready and has doubts now; its streams are open, and it opens more."""
    DRAINING = "draining"
    GONE = "gone"
    """It has ended, or is not heard of any more."""


class StatedDoubt(msgspec.Struct, frozen=True):
    """Why a worker is not ready."""

    reason: str
    detail: str


class PartitionLoad(msgspec.Struct, frozen=True):
    """One log that the worker reads."""

    log: LogKind
    partition: int
    records_per_second: float = 0.0
    """By the offsets, so at most: transactions and compaction leave holes."""
    streams: int = 0
    lag: int = 0
    """Records that the broker has and the worker has not, at most."""


class DeliveryTimes(msgspec.Struct, frozen=True):
    """Record timestamp to socket write, of live events: seconds, since the start."""

    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    """Events up to each bound and above the one before it; one more for those above all."""
    sum: float = 0.0
    p50: float | None = None
    """Of the events since the status before; None where there were none."""
    p99: float | None = None


class Sighting(msgspec.Struct, frozen=True):
    """Where a record stands that was found wanting, and why."""

    topic: str
    partition: int
    offset: int
    reason: str


class TimeOff(msgspec.Struct, frozen=True):
    """A record whose timestamp cannot be the time at which it was written."""

    topic: str
    partition: int
    offset: int
    seconds: int
    """By how much it is ahead of the clock of the worker that read it; behind is less than 0."""


class ShortRetention(msgspec.Struct, frozen=True):
    """A topic that keeps its records for less long than clients may come back for them."""

    topic: str
    kept_seconds: float
    promised_seconds: float


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """One worker at one time."""

    worker: str
    number: int
    """Counts the worker's statuses: a higher one is younger, whatever clocks say."""
    state: WorkerState
    doubts: tuple[StatedDoubt, ...] = ()
    version: str = ""
    at: int = 0
    """When this was told, by its own clock: Unix ms; 0 where a former version does not say."""
    since: str = ""
    """When it was started: RFC 3339, by its own clock."""
    ops_url: str = ""
    """Its operations listener, as it calls it; from elsewhere it may have another address."""
    streams: int = 0
    streams_stuck: int = 0
    connections: int = 0
    events: dict[str, int] = {}
    """Written to streams, by path: live, tail, replay."""
    events_per_second: float = 0.0
    records: int = 0
    """Read live."""
    records_per_second: float = 0.0
    lag: int = 0
    replays_running: int = 0
    replays_waiting: int = 0
    """Streams that wait for a replay or take part in one."""
    tail_bytes: int = 0
    """Of all tails and their indexes."""
    gaps: dict[str, int] = {}
    closes: dict[str, int] = {}
    rejects: dict[str, int] = {}
    unreadable: dict[str, int] = {}
    unreadable_last: Sighting | None = None
    unknown_types: int = 0
    partitioner_mismatches: int = 0
    mismatch_last: Sighting | None = None
    """Its reason is the setting that would fit."""
    time_off: TimeOff | None = None
    """The worst of late; None where all is well."""
    short_retentions: tuple[ShortRetention, ...] = ()
    """As the brokers tell now; nothing where they do not tell."""
    resident_bytes: int = 0
    cpu_seconds: float = 0.0
    cpu_share: float = 0.0
    """Of one core."""
    loop_delay_seconds: float = 0.0
    """The longest that the event loop was late, since the status before."""
    delivery: DeliveryTimes = DeliveryTimes()
    partitions_read: int = 0
    partitions: tuple[PartitionLoad, ...] = ()
    """At most `MAX_PARTITIONS` of those that are read: first those that lag, then the busiest."""


_decoder = msgspec.json.Decoder(Status)


def write_status(status: Status) -> bytes:
    """Return the status as the value of its record; its worker is the key."""
    return msgspec.json.encode(status)


def read_status(key: bytes, value: bytes) -> Status | None:
    """Return what a record says; None where it is no status, or not that of its key's worker."""
    try:
        status = _decoder.decode(value)
    except (ValueError, RecursionError):
        return None
    return status if status.worker.encode() == key else None


def busiest(loads: Iterable[PartitionLoad]) -> tuple[PartitionLoad, ...]:
    """Return those that a status tells of, in the order of their logs."""
    found = sorted(loads, key=lambda load: (-load.lag, -load.records_per_second, -load.streams))
    return tuple(sorted(found[:MAX_PARTITIONS], key=lambda load: (load.log, load.partition)))


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """Return the value that `share` (0 to 1) of what was counted does not exceed.

    Within a bucket values are taken to be spread evenly, as Prometheus does. What is above all
    bounds counts as the highest. None where nothing was counted.
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
