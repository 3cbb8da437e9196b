"""The results of a run as a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from rich.table import Table


class Finding(NamedTuple):
    """An input, empty if unknown, and its effect."""

    data: bytes
    fault: str


class Tried(NamedTuple):
    """The result of one target."""

    target: str
    engine: str
    inputs: int
    seconds: float
    findings: tuple[Finding, ...] = ()


def table(rows: Iterable[Tried]) -> Table:
    """Return the rows as text."""
    made = Table("target", "engine", "inputs", "a second", "findings", title="fuzzing")
    for row in rows:
        rate = f"{row.inputs / row.seconds:,.0f}" if row.seconds else "-"
        made.add_row(row.target, row.engine, f"{row.inputs:,}", rate, str(len(row.findings)))
    return made
