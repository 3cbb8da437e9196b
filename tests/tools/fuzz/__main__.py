"""`make fuzz`: three minutes over all targets and a live worker, or `--seconds`.

The exit code is 1 after a finding. The printed seed reproduces the inputs, except those of atheris,
which depend on time; its findings are in `build/fuzz`.
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

from tests.tools.fuzz import guided, mutation, wire
from tests.tools.fuzz.report import Tried, table
from tests.tools.fuzz.targets import TARGETS

WIRE = "wire"
WIRE_SHARE = 0.25
"""The part of the time for the live worker."""

FOUND = Path("build") / "fuzz"


def main(
    seconds: Annotated[float, typer.Option(min=1, help="of all targets together")] = 180,
    seed: Annotated[int | None, typer.Option(help="of the run to repeat")] = None,
    only: Annotated[list[str] | None, typer.Option(help=f"a target, or {WIRE}")] = None,
    random_only: Annotated[bool, typer.Option("--random", help="without atheris")] = False,
) -> None:
    """Feed hostile input to every reader of external input and report findings."""
    console = Console()
    names = only or [*TARGETS, WIRE]
    if unknown := sorted({*names} - {*TARGETS, WIRE}):
        raise typer.BadParameter(f"no target {', '.join(unknown)}: {', '.join([*TARGETS, WIRE])}")
    seed = random.randrange(10**6) if seed is None else seed
    console.print(f"--seconds {seconds:g} --seed {seed}")
    guide = guided.is_there() and not random_only
    if not guided.is_there():
        console.print("atheris is not installed: random mutations without coverage guidance")
    targets = [TARGETS[name] for name in names if name != WIRE]
    left = seconds * (1 - WIRE_SHARE) if targets and WIRE in names else seconds
    rows: list[Tried] = []
    for target in targets:
        share = left / len(targets)
        with tempfile.TemporaryDirectory() as folder:
            run = guided.run(target, seed, share, Path(folder)) if guide else None
        rows.append(run or mutation.run(target, seed, share))
        console.print(f"{target.name}: {rows[-1].inputs:,}", highlight=False)
    if WIRE in names:
        share = seconds * WIRE_SHARE if targets else seconds
        rows += _attack(console, seed, share)
    console.print(table(rows))
    for row in rows:
        for number, (data, fault) in enumerate(row.findings):
            path = FOUND / f"{row.target.replace(' ', '-')}-{number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            console.print(f"{path}: {fault}", markup=False, highlight=False)
    raise typer.Exit(int(any(row.findings for row in rows)))


def _attack(console: Console, seed: int, seconds: float) -> tuple[Tried, ...]:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        outcome = asyncio.run(wire.run(seed, seconds, Path(folder)))
    answers = ", ".join(f"{status}: {count:,}" for status, count in outcome.statuses.items())
    console.print(
        f"answers {answers}; {outcome.written} events of the canary; afterwards"
        f" {outcome.more_files:+d} files, {outcome.more_bytes / 2**20:+.1f} MiB",
        highlight=False,
    )
    return outcome.rows


if __name__ == "__main__":
    typer.run(main)
