"""Shared by the commands: common options and consoles.

Payloads are untrusted: `harmless` escapes every character that could control a terminal.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Collection

    from rich.console import JustifyMethod, OverflowMethod

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="TOML file with settings.", show_default=False),
]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

# C0, DEL and C1 contain terminal control codes; the others change the direction of a line.
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def to_stdout() -> Console:
    """Return the console for results; without a terminal, lines are neither cut nor coloured."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=1 << 16)


def to_stderr() -> Console:
    """Return the console for errors, notices and progress."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def say_error(text: str, console: Console | None = None) -> None:
    """Print an error to standard error, one line for each of its lines."""
    console = console or to_stderr()
    for line in text.splitlines():
        console.print(f"[bold red]error:[/] {escape(line)}")


def harmless(text: str) -> str:
    r"""Return the text on one line, with control characters escaped, such as `\x1b`."""
    return _STEERING.sub(lambda found: repr(found[0])[1:-1], text)


def shown(text: str) -> str:
    """Return untrusted text for a cell of a table."""
    return escape(harmless(text))


def plain_table(*headings: str, right: Collection[str] = (), wrap: bool = True) -> Table:
    """Return a table without borders; the columns in `right` are aligned to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        justify: JustifyMethod = "right" if heading in right else "left"
        overflow: OverflowMethod = "ellipsis" if wrap else "ignore"
        table.add_column(heading, justify=justify, overflow=overflow, no_wrap=not wrap)
    return table
