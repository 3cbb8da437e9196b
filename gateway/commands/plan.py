"""`gateway plan`: calculate the workers for a load and the effect of losing one."""

from __future__ import annotations

import json
from math import ceil
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands.console import AsJson, plain_table, say_error, to_stdout
from gateway.fleet.capacity import MAX_WORKERS, Bounds, Costs, Load, Plan
from gateway.fleet.capacity import plan as make_plan

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

_BOUNDS, _COSTS = Bounds(), Costs()


def plan(
    streams: Annotated[int, typer.Option(min=1, help="Concurrent streams.")],
    events_per_second: Annotated[
        float, typer.Option(min=0, help="Deliveries: events times the streams that receive each.")
    ],
    records_per_second: Annotated[
        float | None,
        typer.Option(min=0, help="Records in the user topic; default: one for each event."),
    ] = None,
    broadcasts_per_second: Annotated[float, typer.Option(min=0, help="Broadcast events.")] = 0.0,
    partitions: Annotated[
        int | None,
        typer.Option(min=1, help="Partitions of the user topic; default: 20 for each worker."),
    ] = None,
    busy: Annotated[
        float, typer.Option(min=0, max=0.99, help="Target CPU share of a worker's core.")
    ] = _BOUNDS.busy,
    strained: Annotated[
        float,
        typer.Option(min=0, max=0.99, help="Highest CPU share after the loss of another worker."),
    ] = _BOUNDS.strained,
    max_streams: Annotated[
        int, typer.Option(min=1, help="GATEWAY_MAX_STREAMS of a worker.")
    ] = _BOUNDS.streams,
    tail_bytes: Annotated[
        int, typer.Option(min=1, help="GATEWAY_TAIL_BYTES of a worker.")
    ] = _BOUNDS.tail_bytes,
    event_us: Annotated[
        float, typer.Option(min=0, help="CPU to deliver an event.")
    ] = _COSTS.event_us,
    record_us: Annotated[
        float, typer.Option(min=0, help="CPU to read a record.")
    ] = _COSTS.record_us,
    resume_us: Annotated[
        float, typer.Option(min=1, help="CPU to open a stream and resume it.")
    ] = _COSTS.resume_us,
    as_json: AsJson = False,
) -> None:
    """Plan a fleet: workers, memory, open files, and the effect of losing a worker.

    The default costs were measured on one core; pass the costs of your machines.
    """
    load = Load(
        streams,
        events_per_second,
        events_per_second if records_per_second is None else records_per_second,
        broadcasts_per_second,
        partitions,
    )
    bounds = _BOUNDS._replace(
        busy=busy, strained=strained, streams=max_streams, tail_bytes=tail_bytes
    )
    costs = _COSTS._replace(event_us=event_us, record_us=record_us, resume_us=resume_us)
    plans = {
        "without_sharding": make_plan(load, bounds, costs, sharding=False),
        "with_sharding": make_plan(load, bounds, costs, sharding=True),
    }
    if as_json:
        typer.echo(_facts(load=load, bounds=bounds, costs=costs, **plans))
    else:
        to_stdout().print(plan_table(plans.values()))
        shown = ", ".join(f"{name} {value:,.8g}" for name, value in costs._asdict().items())
        to_stdout().print(f"\ncosts: {shown}", soft_wrap=True)
    if not any(plans.values()):
        say_error(
            f"no fleet of up to {MAX_WORKERS:,} workers carries this load;"
            " check --busy, --strained, --max-streams and the load"
        )
        raise typer.Exit(1)


def _facts(**tuples: Load | Bounds | Costs | Plan | None) -> str:
    facts = {name: None if each is None else each._asdict() for name, each in tuples.items()}
    return json.dumps(facts, indent=2)


def plan_table(plans: Iterable[Plan | None]) -> Table:
    """Return a column for each plan."""
    headings = ("without sharding", "with sharding")
    table = plain_table("", *headings, right=headings)
    for row in zip(_ROWS, *map(_column, plans), strict=True):
        table.add_row(*row)
    return table


def _column(plan: Plan | None) -> list[str]:
    if plan is None:
        return [f"none up to {MAX_WORKERS:,}", *"-" * (len(_ROWS) - 1)]
    return [
        f"{plan.workers:,}",
        "any" if plan.partitions is None else f"{plan.partitions:,}",
        f"{plan.streams:,}",
        f"{plan.records:,.0f}",
        f"{plan.cpu:.0%}",
        f"{plan.cpu_after_loss:.0%}",
        f"{plan.memory_bytes / 1e6:,.0f} MB",
        f"{plan.kernel_bytes / 1e6:,.0f} MB",
        f"{plan.files:,}",
        f"{plan.lost:,}",
        f"{plan.newcomers:,}",
        f"{plan.returning:,.0f}",
        f"{plan.cpu_returning:.0%}",
        f"{plan.longest_wait:,.1f} s",
        f"{plan.all_back:,.1f} s",
        f"{ceil(plan.retry_needed * 1000):,}",
    ]


_ROWS = (
    "workers",
    "partitions of the topic",
    "the busiest worker: streams",
    "  records read a second",
    "  CPU",
    "  CPU when one is lost",
    "  memory, with full tails",
    "  memory of the kernel",
    "  open files",
    "one dies: its streams",
    "  reconnect to one other",
    "    in a second",
    "    CPU meanwhile",
    "    longest wait",
    "  all are back after",
    "  GATEWAY_RETRY_MS without a wait",
)
