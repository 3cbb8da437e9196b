"""The results: a table for the terminal, JSON for everything else."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
from rich.table import Table

from tests.bench.figures import Figure

if TYPE_CHECKING:
    from pathlib import Path


class Machine(msgspec.Struct):
    """What was measured on; `load` is the load average of the last minute before the first row."""

    cores: int
    system: str
    python: str
    load: float

    @classmethod
    def this(cls) -> Machine:
        """Return the machine that we are on."""
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
        """Whether any row does not count."""
        return any(result.void is not None for result in self.rows.values())

    def write(self, path: Path) -> None:
        """Write everything, each round's values included, as JSON."""
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self)) + b"\n")

    def table(self) -> Table:
        """Return the table that a person reads."""
        machine = self.machine
        table = Table(
            title=f"{machine.cores} cores, Python {machine.python}, load before {machine.load}",
            caption=f"median, minimum and maximum; rounds: {self.rounds}",
        )
        table.add_column("row")
        table.add_column("figure")
        for name in ("median", "min", "max"):
            table.add_column(name, justify="right")
        table.add_column("unit")
        for result in self.rows.values():
            table.add_section()
            if result.void is not None:
                table.add_row(result.title, f"[red]void: {result.void}[/]")
            for number, figure in enumerate(result.figures):
                values = (figure.median, figure.min, figure.max)
                title = result.title if number == 0 else ""
                table.add_row(title, figure.name, *map(_short, values), figure.unit)
        return table


def _short(value: float) -> str:
    """Return the value with about three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
