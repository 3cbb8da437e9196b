"""`make alerts`: cause the fault of every alert; the alert must fire, then resolve.

Prometheus runs the shipped rules with seconds for minutes (`tests.tools.alerts.rules.hurried`).
Exit code 1: an alert did not fire or did not resolve.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.brokers.kafka import KafkaNode, missing_programs
from tests.tools.alerts.drill import Outcome, drill, table
from tests.tools.alerts.faults import FAULTS, Fault
from tests.tools.alerts.ground import ground


def main(
    only: Annotated[list[str] | None, typer.Option(help="the name of an alert; repeat")] = None,
) -> None:
    """Cause faults and compare the firing alerts."""
    if missing := missing_programs():
        raise typer.BadParameter(f"this runs Apache Kafka and needs {' and '.join(missing)}")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it logs every failed connection
    faults = [fault for fault in FAULTS if not only or set(only) & set(fault.alerts)]
    with tempfile.TemporaryDirectory() as folder:
        outcomes = asyncio.run(_run(Path(folder), faults))
    Console().print(table(outcomes))
    raise typer.Exit(int(not all(outcome.is_good for outcome in outcomes)))


async def _run(folder: Path, faults: list[Fault]) -> list[Outcome]:
    outcomes = []
    progress = Console(stderr=True)
    async with KafkaNode(folder / "kafka") as node, ground(folder, node.bootstrap, node) as made:
        for fault in faults:
            progress.print(fault.what, end=": ")
            found = await drill(made, fault)
            progress.print("as expected" if all(o.is_good for o in found) else "NOT as expected")
            outcomes += found
    return outcomes


if __name__ == "__main__":
    typer.run(main)
