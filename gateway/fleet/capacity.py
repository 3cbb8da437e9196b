"""How many workers a load needs, and what the loss of one costs the others.

    CPU of a worker, in µs a second =
        fetch cycles * `cycle_us` + records read * `record_us` + events * `event_us`
        + streams * (`idle_us` + `write_us` / heartbeat + `resume_us` / stream age)
        + broadcasts * streams * `write_us`

Without sharding a worker has 1/N of the streams and events, and reads all records: a user of each
partition is likely to be there. With it, it has its partitions of everything. The balancer's hash
gives them out, which is uneven, so what counts is the worker with most of them.

A plan is the least number of workers that carry the load, and still do when one of them is lost.
The costs were measured (docs/performance.md); docs/capacity.md shows how the figures come about.
"""

from __future__ import annotations

from math import ceil, log, sqrt
from typing import NamedTuple

from gateway.fleet.storm import Storm, needed_spread, simulate

MAX_WORKERS = 10_000
"""Whoever needs more has another problem."""

SHARDS_FOR_EACH = 20
"""Partitions for each worker where their number is free to choose: fewer are too uneven."""

OTHER_FILES = 256
"""Files of a worker besides its streams: connections to brokers, the listeners, Python's own."""


class Costs(NamedTuple):
    """What was measured, with one worker on one core."""

    cycle_us: float = 1990.0
    """CPU of a fetch cycle, whatever it brings; of aiokafka, asyncio and the kernel."""
    record_us: float = 3.75
    """CPU to read a record."""
    event_us: float = 12.6
    """CPU to deliver a record to a stream."""
    write_us: float = 10.3
    """CPU of one more stream for the same bytes: a broadcast, or a heartbeat."""
    resume_us: float = 579.0
    """CPU to open a stream with a token and bring it up from memory."""
    idle_us: float = 0.67
    """CPU of a stream without events, each second."""
    stream_bytes: int = 2_840
    """Memory of a stream in the process."""
    kernel_bytes: int = 3_300
    """Memory of an idle connection in the kernel."""
    base_bytes: int = 76_000_000
    """Memory of a worker without streams and tails."""


class Load(NamedTuple):
    """What is to be served. Rates are a second, of all workers together."""

    streams: int
    events: float
    """Deliveries to one stream each."""
    records: float
    """Written to the user topic, whether anybody has a stream for them or not."""
    broadcasts: float = 0.0
    partitions: int | None = None
    """Of the user topic; None: as many as sharding wants."""


class Bounds(NamedTuple):
    """How far a worker may go."""

    busy: float = 0.6
    """Of its core, on a usual day."""
    strained: float = 0.85
    """Of its core, when another one is lost."""
    streams: int = 20_000
    """`GATEWAY_MAX_STREAMS`."""
    tail_bytes: int = 134_217_728
    """`GATEWAY_TAIL_BYTES`."""
    cycles: float = 50.0
    """Fetch cycles a second at most: one in each `GATEWAY_LIVE_DELAY_MS`."""
    heartbeat: float = 30.0
    age: float = 3600.0
    retry: float = 3.0
    """Seconds that clients wait before they come back."""


class Plan(NamedTuple):
    """What it takes; figures are those of the worker that has most to do."""

    sharding: bool
    workers: int
    partitions: int | None
    streams: int
    records: float
    """Read by it, a second."""
    cpu: float
    """Of one core."""
    cpu_after_loss: float
    memory_bytes: int
    """Of its process, with full tails."""
    kernel_bytes: int
    files: int
    lost: int
    """Streams that end with a worker that dies."""
    newcomers: int
    """Of these, those that come to one other worker."""
    at_once: Storm
    """What that is where all come back at the same time."""
    spread: float
    """Seconds over which they have to come, so that nobody waits for more than a second."""
    spread_out: Storm


def cpu(load: Load, bounds: Bounds, costs: Costs) -> float:
    """Return what a worker needs that has this load to itself: the part of a core."""
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
    """Return how many shards the worker has that a hash gives most.

    The largest of `workers` numbers with that mean, for as many balls in bins: the mean and
    √(2 · mean · ln workers), which is a little more than what is to be expected.
    """
    mean = shards / workers
    return min(ceil(shards), ceil(mean + sqrt(2 * mean * log(workers))))


def part(load: Load, workers: int, *, sharding: bool) -> Load:
    """Return the load of the worker that has most of it."""
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
    """Return what the load takes; None where no number of workers can carry it."""
    for workers in range(2, MAX_WORKERS + 1):
        # The topic does not change when one is lost.
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
    seconds = costs.resume_us / 1e6
    spread = needed_spread(newcomers, busy, seconds, bounds.retry)
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
        at_once=simulate(newcomers, busy, seconds, bounds.retry, 0.0),
        spread=spread,
        spread_out=simulate(newcomers, busy, seconds, bounds.retry, spread),
    )


def _partitions(load: Load, workers: int) -> int:
    return SHARDS_FOR_EACH * workers if load.partitions is None else load.partitions
