"""`make fleet`: a rolling deploy and a reconnect storm behind nginx, sized for the machine.

The exit code is 1 if an event was lost or repeated, or a client stopped reconnecting.
"""

from __future__ import annotations

import asyncio
import resource
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tests.brokers.kafka import missing_programs
from tests.tools.fleet.drills import Report, rolling_deploy, storm

OPEN_FILES = 20_000
"""Open files of each process: nginx needs two for each stream."""


def main(
    deploy_streams: Annotated[int, typer.Option(min=0, help="0: no rolling deploy")] = 2000,
    storm_streams: Annotated[int, typer.Option(min=0, help="0: no storm")] = 5000,
    rate: Annotated[float, typer.Option(help="events a second")] = 500,
    drain: Annotated[float, typer.Option(help="GATEWAY_DRAIN_SECONDS")] = 30,
) -> None:
    """Replace workers and kill one, under clients that check every event."""
    if missing := missing_programs():
        raise typer.BadParameter(f"this runs Apache Kafka and needs {' and '.join(missing)}")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, hard), hard))
    clean = True
    with tempfile.TemporaryDirectory() as folder:
        if deploy_streams:
            home = Path(folder, "deploy")
            report = asyncio.run(rolling_deploy(home, deploy_streams, rate, drain))
            clean = _show("rolling deploy", report)
        if storm_streams:
            report = asyncio.run(storm(Path(folder, "storm"), storm_streams, rate))
            clean = _show("reconnect storm", report) and clean
    raise typer.Exit(int(not clean))


def _show(title: str, report: Report) -> bool:
    """Print a report; return whether it is clean."""
    table = Table("what", "", title=title)
    for what, value in report.rows().items():
        table.add_row(what, value)
    Console().print(table)
    return report.is_clean


if __name__ == "__main__":
    typer.run(main)
