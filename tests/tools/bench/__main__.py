"""`make bench`: measure the rows on a real Apache Kafka, show tables, write JSON.

The exit code is 1 only if a figure is void: a slow machine is not a failure.
"""

from __future__ import annotations

import asyncio
import resource
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.brokers.kafka import KafkaNode, missing_programs
from tests.tools.bench.chart import draw
from tests.tools.bench.figures import figures
from tests.tools.bench.ground import Ground
from tests.tools.bench.helper import ROOT
from tests.tools.bench.nchan import MISSING, is_installed
from tests.tools.bench.report import OUTPUT, Report, Result
from tests.tools.bench.rivals import missing_rivals
from tests.tools.bench.rows import LONG, ROWS, Goal
from tests.tools.bench.tally import Void

CHART = ROOT / "docs" / "images" / "performance.svg"

OPEN_FILES = 20_000
"""Enough for the largest row: each stream is an open file of the worker."""


def main(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="ROW", help=f"of {', '.join(ROWS)}")
    ] = None,
    rounds: Annotated[int, typer.Option(envvar="BENCH_ROUNDS", min=1)] = 3,
    chart: Annotated[bool, typer.Option("--chart", help="draw the documentation's chart")] = False,
) -> None:
    """Measure the named rows; by default all except the long ones."""
    if unknown := set(names or ()) - ROWS.keys():
        raise typer.BadParameter(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}")
    if missing := missing_programs():
        raise typer.BadParameter(f"the bench runs Apache Kafka and needs {' and '.join(missing)}")
    _allow_open_files()
    rows = {name: ROWS[name] for name in names or ROWS if names or name not in LONG}
    console = Console()
    report = asyncio.run(_measure(rows, rounds, console))
    report.write(OUTPUT)
    for table in report.tables():
        console.print(table)
    console.print(f"{report.circumstances}. All values are in {OUTPUT.relative_to(ROOT)}")
    for line in missing_rivals() if "rivals" in rows else [MISSING] * (not is_installed()):
        console.print(f"[yellow]{line}[/]")
    if chart:
        CHART.write_text(draw(report))
        console.print(f"The chart is {CHART.relative_to(ROOT)}")
    raise typer.Exit(int(report.is_void))


async def _measure(rows: dict[str, Goal], rounds: int, console: Console) -> Report:
    report = Report.begin(rounds)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with (
        tempfile.TemporaryDirectory() as folder,
        Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress,
    ):
        task = progress.add_task("Apache Kafka starts", total=len(rows) * rounds)
        async with KafkaNode(Path(folder, "kafka")) as kafka:
            ground = Ground(kafka.bootstrap, Path(folder))
            for number, (name, goal) in enumerate(rows.items(), 1):
                progress.update(task, description=goal.row.title)
                report.rows[name] = await measure_rounds(
                    goal, rounds, ground, partial(progress.advance, task)
                )
                progress.update(task, completed=number * rounds)
    return report


async def measure_rounds(
    goal: Goal, rounds: int, ground: Ground, advance: Callable[[], None]
) -> Result:
    """Measure the rounds of a row; a void round makes the row void."""
    samples = []
    for _ in range(rounds):
        try:
            samples.append(await goal.row.measure(ground))
        except Void as reason:
            return Result(goal.row.title, void=str(reason))
        advance()
    return Result(goal.row.title, figures(samples, goal.targets))


def _allow_open_files() -> None:
    """Raise the limit of open files for this process and its children."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < OPEN_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    typer.run(main)
