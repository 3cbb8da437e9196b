"""docs/command-line.md, built from the commands: `python -m tests.docs.command_line` writes it."""

from __future__ import annotations

import sys
from typing import Any

import typer

from gateway.cli import build
from tests.docs.markdown import ROOT

PAGE = ROOT / "docs/command-line.md"

INTRODUCTION = """\
# Command line

`gateway COMMAND --help` prints the same. Results go to standard output, messages to standard error.
Settings are environment variables, or a TOML file given with `--config` ([settings](settings.md)).

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | failed |
| 2 | invalid settings or command line |
| 130 | interrupted by Ctrl-C, except `serve` |

`gateway --install-completion` sets up completion for bash, zsh, fish or PowerShell.

`gateway serve` exits with 0 after a drain, which SIGTERM or Ctrl-C begins.

<!-- Built from the commands: python -m tests.docs.command_line -->
"""


def page() -> str:
    """Return the page: a section for each command, with its arguments and options."""
    commands = typer.main.get_command(build()).commands  # type: ignore[attr-defined]
    return INTRODUCTION + "".join(_section(name, command) for name, command in commands.items())


def _section(name: str, command: Any) -> str:
    context = command.make_context(name, [], resilient_parsing=True)
    usage = " ".join(["gateway", name, *command.collect_usage_pieces(context)])
    text = f"\n## gateway {name}\n\n`{usage}`\n\n{_help(command.help)}\n"
    params = [param for param in command.get_params(context) if param.name != "help"]
    records = [param.get_help_record(context) for param in params]
    if records:
        text += "\n| argument or option | meaning |\n| --- | --- |\n"
        text += "".join(f"| `{names}` | {_help(meaning)} |\n" for names, meaning in records)
    return text


def _help(text: str) -> str:
    return text.strip().replace("\b\n", "")


if __name__ == "__main__":
    sys.stdout.write(str(PAGE.write_text(page(), encoding="utf-8")) + "\n")
