"""`gateway fleet`: print the fleet status that one worker has collected."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.commands.console import (
    AsJson,
    ConfigFile,
    harmless,
    plain_table,
    shown,
    to_stderr,
    to_stdout,
)
from gateway.config import load_settings
from gateway.fleet.status import WorkerState
from gateway.ops.client import ask, default_url

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

OpsUrl = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="Operations listener of a worker; default: the address in the settings.",
        show_default=False,
    ),
]

_COLOURS = {
    WorkerState.READY: "green",
    WorkerState.STARTING: "yellow",
    WorkerState.DRAINING: "yellow",
    WorkerState.NOT_READY: "red",
    WorkerState.GONE: "red",
}


def fleet(url: OpsUrl = None, as_json: AsJson = False, config: ConfigFile = None) -> None:
    """Show every worker: readiness, load and resource usage."""
    settings = load_settings(config)
    answer = asyncio.run(ask(url or default_url(settings), settings, "GET", "/ops/fleet"))
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    console = to_stdout()
    console.print(fleet_table(answer["workers"]))
    for line in doubt_lines(answer["workers"]):
        console.print(line, markup=False, soft_wrap=True)
    if answer["problem"]:
        to_stderr().print(harmless(answer["problem"]), style="yellow", markup=False)


def doubt_lines(workers: Iterable[dict[str, Any]]) -> list[str]:
    """Return a line for each reason why a worker is not ready.

    A reason may end with a command; a table column would wrap it.
    """
    return [
        harmless(f"{worker['worker']}: {doubt['detail']}")
        for worker in workers
        if worker["state"] != WorkerState.GONE
        for doubt in worker["doubts"]
    ]


def fleet_table(workers: Iterable[dict[str, Any]]) -> Table:
    """Return a row for each worker, then a row of totals."""
    numbers = ("streams", "events/s", "p99", "lag", "replays", "gaps", "memory", "CPU")
    table = plain_table("worker", "state", *numbers, "version", "since", "note", right=numbers)
    alive = []
    for worker in workers:
        state = WorkerState(worker["state"])
        gone = state is WorkerState.GONE
        if not gone:
            alive.append(worker)
        reasons = ", ".join(doubt["reason"] for doubt in worker["doubts"])
        note = f"last status {worker['age_seconds']:.0f} s ago" if gone else reasons
        p99 = worker["delivery"]["p99"]
        table.add_row(
            shown(worker["worker"]),
            f"[{_COLOURS[state]}]{state}[/]",
            *_load([worker], "-" if p99 is None else f"{p99 * 1000:.0f} ms"),
            shown(worker["version"]),
            shown(worker["since"][:19].replace("T", " ")),
            shown(note),
        )
    if len(alive) > 1:
        table.add_section()
        table.add_row("all", f"{len(alive)} workers", *_load(alive, ""))
    return table


def _load(workers: list[dict[str, Any]], p99: str) -> tuple[str, ...]:
    def total(name: str) -> float:
        return float(sum(worker[name] for worker in workers))

    gaps = sum(sum(worker["gaps"].values()) for worker in workers)
    return (
        f"{total('streams'):,.0f}",
        f"{total('events_per_second'):,.1f}",
        p99,
        f"{total('lag'):,.0f}",
        f"{total('replays_waiting'):,.0f}",
        f"{gaps:,}",
        f"{total('resident_bytes') / 1e6:,.0f} MB",
        f"{total('cpu_share'):.0%}",
    )
