"""`make chaos`: a run of three minutes, or of `--seconds`.

The exit code is 1 if an event was lost, repeated or out of order. The printed seed reproduces the
schedule.
"""

from __future__ import annotations

import asyncio
import logging
import random
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.brokers.kafka import missing_programs
from tests.tools.chaos.run import CLIENTS, run
from tests.tools.chaos.schedule import schedule


def main(
    seconds: Annotated[float, typer.Option(min=20)] = 180,
    seed: Annotated[int | None, typer.Option(help="of the run to repeat")] = None,
    clients: Annotated[int, typer.Option(min=1)] = CLIENTS,
) -> None:
    """Kill, freeze and restart brokers and workers while clients connect and disconnect."""
    if missing := missing_programs():
        raise typer.BadParameter(f"this runs Apache Kafka and needs {' and '.join(missing)}")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it logs every failed connection
    seed = random.randrange(10**6) if seed is None else seed
    console = Console()
    console.print(f"--seconds {seconds:g} --seed {seed}")
    for fault in schedule(seed, seconds):
        console.print(str(fault), highlight=False)
    with tempfile.TemporaryDirectory() as folder:
        report = asyncio.run(run(seed, seconds, Path(folder), clients))
    console.print(*report.tables())
    console.print("longest interruptions:", *report.worst(), sep="\n  ", highlight=False)
    raise typer.Exit(int(not report.is_clean))


if __name__ == "__main__":
    typer.run(main)
