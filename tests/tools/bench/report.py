"""The results: tables for the terminal, JSON for everything else."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich import box
from rich.table import Table

from tests.tools.bench.figures import GATEWAY, Figure
from tests.tools.bench.helper import ROOT

OUTPUT = ROOT / "build" / "bench.json"

LABEL_WIDTH = 22
VALUE_WIDTH = 7
TARGET_WIDTH = 15
"""Column widths in characters, the same for every table."""


class Machine(msgspec.Struct):
    """The machine; `load` is the load average of the last minute before the first row."""

    cores: int
    system: str
    python: str
    load: float

    @classmethod
    def this(cls) -> Machine:
        """Return this machine."""
        return cls(
            os.cpu_count() or 1,
            f"{platform.system()} {platform.machine()}",
            platform.python_version(),
            round(os.getloadavg()[0], 2),
        )


class Result(msgspec.Struct):
    """A row: its figures, or why they are void."""

    title: str
    figures: list[Figure] = msgspec.field(default_factory=list)
    void: str | None = None


class Report(msgspec.Struct):
    """A run of the bench; `rows` by name."""

    at: datetime
    rounds: int
    machine: Machine
    rows: dict[str, Result] = msgspec.field(default_factory=dict)

    @classmethod
    def begin(cls, rounds: int) -> Report:
        """Return an empty report of this machine, now."""
        return cls(datetime.now(UTC), rounds, Machine.this())

    @property
    def is_void(self) -> bool:
        """Whether any row is void."""
        return any(result.void is not None for result in self.rows.values())

    def write(self, path: Path) -> None:
        """Write the report with the values of each round as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self)) + b"\n")

    @classmethod
    def read(cls, path: Path) -> Report:
        """Return the report of a file written by `write`."""
        return msgspec.json.decode(path.read_bytes(), type=cls)

    @property
    def circumstances(self) -> str:
        """Machine and circumstances, in one line."""
        machine = self.machine
        return (
            f"{machine.cores} cores, {machine.system}, Python {machine.python},"
            f" load average before {machine.load}, rounds: {self.rounds}"
        )

    def tables(self) -> Iterator[Table]:
        """Yield the tables for the terminal, one for each row."""
        for name, result in self.rows.items():
            table = Table(
                title=f"[bold]{name}[/]: {result.title}", title_justify="left", box=box.SIMPLE_HEAD
            )
            table.add_column("figure", min_width=LABEL_WIDTH)
            for column in ("median", "min", "max"):
                table.add_column(column, min_width=VALUE_WIDTH, justify="right", no_wrap=True)
            table.add_column("target", min_width=TARGET_WIDTH, justify="right", no_wrap=True)
            if result.void is not None:
                table.add_row(f"[red]void: {result.void}[/]")
            for figure in result.figures:
                *cells, target = words(figure)
                if figure.of_target is not None:
                    color = "green" if figure.of_target <= 1 else "red"
                    target = f"[{color}]{target}[/]"
                table.add_row(*cells, target)
            yield table


def words(figure: Figure) -> list[str]:
    """Return a figure as text: name, values, and the target with its percentage.

    Figures of others follow the gateway's; they show the server's name only.
    """
    label = figure.name if figure.whose == GATEWAY else f"  {figure.whose}"
    values = (short(value) for value in (figure.median, figure.min, figure.max))
    target = ""
    if figure.target is not None:
        target = f"≤ {figure.target:,g} ({figure.of_target:.0%})"
    return [f"{label}, {figure.unit}".removesuffix(", "), *values, target]


def short(value: float) -> str:
    """Return the value with about three significant digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
