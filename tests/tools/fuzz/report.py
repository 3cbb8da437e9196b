"""What came of a run, as a table for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable


class Finding(NamedTuple):
    """An input, empty where it is not known which one, and what it has brought about."""

    data: bytes
    fault: str


class Tried(NamedTuple):
    """What came of one target."""

    target: str
    engine: str
    inputs: int
    seconds: float
    findings: tuple[Finding, ...] = ()


def table(rows: Iterable[Tried]) -> Table:
    """Return the rows as they are to be shown."""
    made = Table("target", "engine", "inputs", "a second", "findings", title="fuzzing")
    for row in rows:
        rate = f"{row.inputs / row.seconds:,.0f}" if row.seconds else "-"
        made.add_row(row.target, row.engine, f"{row.inputs:,}", rate, str(len(row.findings)))
    return made
