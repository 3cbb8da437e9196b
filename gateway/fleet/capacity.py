"""The number of workers for a load, and the cost of losing one of them.

    CPU of a worker, in µs a second =
        fetch cycles * `cycle_us` + records read * `record_us` + events * `event_us`
        + streams * (`idle_us` + `write_us` / heartbeat + `resume_us` / stream age)
        + broadcasts * streams * `write_us`

Without sharding a worker has 1/N of the streams and events and reads all records, because it
probably serves a user of each partition. With sharding it serves and reads only its own
partitions. The balancer's hash assigns partitions unevenly, so the plan is made for the worker
that gets the most.

After a crash the clients of a worker reconnect evenly over `retry` seconds (`core.reconnect`). A
worker serves them with the share of its core that its own load leaves free, so the last one waits
for the work that does not fit in that time.

A plan is the smallest number of workers that carry the load, also after the loss of one worker.
The costs were measured (docs/performance.md); docs/capacity.md derives the figures.
"""

from __future__ import annotations

from math import ceil, log, sqrt
from typing import NamedTuple

MAX_WORKERS = 10_000
"""Upper bound of the search."""

SHARDS_FOR_EACH = 20
"""Partitions per worker where the plan chooses their number: with fewer, load is too uneven."""

OTHER_FILES = 256
"""Files of a worker besides its streams: broker connections, listeners, files of Python."""


class Costs(NamedTuple):
    """Costs that were measured with one worker on one core."""

    cycle_us: float = 500.0
    """CPU of a fetch cycle that returns records of a dozen partitions."""
    record_us: float = 1.3
    """CPU to read a record."""
    event_us: float = 11.1
    """CPU to deliver a record to a stream."""
    write_us: float = 7.2
    """CPU to write the same bytes to one more stream: a broadcast or a heartbeat."""
    resume_us: float = 215.0
    """CPU to open a stream with a token and serve its catch-up from memory."""
    idle_us: float = 0.22
    """CPU of a stream without events, per second."""
    stream_bytes: int = 2_650
    """Memory of a stream in the process."""
    kernel_bytes: int = 3_300
    """Memory of an idle connection in the kernel."""
    base_bytes: int = 76_000_000
    """Memory of a worker without streams and tails."""


class Load(NamedTuple):
    """The load to serve. Rates are per second, summed over all workers."""

    streams: int
    events: float
    """Deliveries to one stream each."""
    records: float
    """Records written to the user topic, with or without an open stream for them."""
    broadcasts: float = 0.0
    partitions: int | None = None
    """Partitions of the user topic; None: the number that sharding needs."""


class Bounds(NamedTuple):
    """The limits of one worker."""

    busy: float = 0.6
    """Share of its core under usual load."""
    strained: float = 0.85
    """Share of its core after the loss of another worker."""
    streams: int = 20_000
    """`GATEWAY_MAX_STREAMS`."""
    tail_bytes: int = 134_217_728
    """`GATEWAY_TAIL_BYTES`."""
    cycles: float = 115.0
    """Maximum fetch cycles per second: one per `GATEWAY_LIVE_DELAY_MS`, the fetch and the work."""
    heartbeat: float = 30.0
    age: float = 3600.0
    retry: float = 3.0
    """`GATEWAY_RETRY_MS` in seconds; clients wait for 0.5 to 1.5 times as long."""


class Plan(NamedTuple):
    """The resources for a load; figures are those of the busiest worker."""

    sharding: bool
    workers: int
    partitions: int | None
    streams: int
    records: float
    """Records that the worker reads per second."""
    cpu: float
    """Share of one core."""
    cpu_after_loss: float
    memory_bytes: int
    """Memory of the process with full tails."""
    kernel_bytes: int
    files: int
    lost: int
    """Streams that end when a worker crashes."""
    newcomers: int
    """The lost streams that reconnect to one other worker."""
    returning: float
    """Clients that reconnect to that worker, per second."""
    cpu_returning: float
    """Its CPU meanwhile."""
    longest_wait: float
    """Seconds that the last of them waits for its stream."""
    all_back: float
    """Seconds from the crash until all have their streams."""
    retry_needed: float
    """The smallest `retry` in seconds with which no client waits for its stream."""


def cpu(load: Load, bounds: Bounds, costs: Costs) -> float:
    """Return the CPU of one worker that serves this load, as a share of one core."""
    cycles = min(bounds.cycles, load.records + load.broadcasts)
    stream = costs.idle_us + costs.write_us / bounds.heartbeat + costs.resume_us / bounds.age
    micros = (
        cycles * costs.cycle_us
        + (load.records + load.broadcasts) * costs.record_us
        + load.events * costs.event_us
        + load.streams * (stream + load.broadcasts * costs.write_us)
    )
    return micros / 1e6


def most(shards: float, workers: int) -> int:
    """Return the number of shards of the worker to which a hash assigns the most.

    The maximum load of `shards` balls in `workers` bins: the mean plus √(2 · mean · ln workers),
    which is slightly above the expected value.
    """
    mean = shards / workers
    return min(ceil(shards), ceil(mean + sqrt(2 * mean * log(workers))))


def part(load: Load, workers: int, *, sharding: bool) -> Load:
    """Return the load of the busiest worker."""
    if not sharding:
        return load._replace(streams=ceil(load.streams / workers), events=load.events / workers)
    partitions = _partitions(load, workers)
    share = most(partitions, workers) / partitions
    return load._replace(
        streams=ceil(load.streams * share),
        events=load.events * share,
        records=load.records * share,
    )


def plan(load: Load, bounds: Bounds, costs: Costs, *, sharding: bool) -> Plan | None:
    """Return the plan for the load; None if no number of workers can carry it."""
    for workers in range(2, MAX_WORKERS + 1):
        # The loss of a worker does not change the number of partitions.
        fixed = load._replace(partitions=_partitions(load, workers)) if sharding else load
        usual = part(fixed, workers, sharding=sharding)
        after = part(fixed, workers - 1, sharding=sharding)
        if (
            cpu(usual, bounds, costs) <= bounds.busy
            and cpu(after, bounds, costs) <= bounds.strained
            and after.streams <= bounds.streams
        ):
            return _plan(fixed, usual, after, workers, bounds, costs, sharding=sharding)
    return None


def _plan(
    load: Load,
    usual: Load,
    after: Load,
    workers: int,
    bounds: Bounds,
    costs: Costs,
    *,
    sharding: bool,
) -> Plan:
    others = workers - 1
    newcomers = ceil(usual.streams / others)
    if sharding:
        assert load.partitions is not None
        moving = most(load.partitions, workers)
        newcomers = ceil(usual.streams * most(moving, others) / moving)
    busy = cpu(usual, bounds, costs)
    work = newcomers * costs.resume_us / 1e6
    retry_needed = work / (1 - busy)
    longest_wait = max(0.0, retry_needed - bounds.retry)
    return Plan(
        sharding=sharding,
        workers=workers,
        partitions=load.partitions,
        streams=usual.streams,
        records=usual.records,
        cpu=busy,
        cpu_after_loss=cpu(after, bounds, costs),
        memory_bytes=costs.base_bytes + bounds.tail_bytes + after.streams * costs.stream_bytes,
        kernel_bytes=after.streams * costs.kernel_bytes,
        files=after.streams + OTHER_FILES,
        lost=usual.streams,
        newcomers=newcomers,
        returning=newcomers / bounds.retry,
        cpu_returning=min(1.0, busy + work / bounds.retry),
        longest_wait=longest_wait,
        all_back=1.5 * bounds.retry + longest_wait,
        retry_needed=retry_needed,
    )


def _partitions(load: Load, workers: int) -> int:
    return SHARDS_FOR_EACH * workers if load.partitions is None else load.partitions
