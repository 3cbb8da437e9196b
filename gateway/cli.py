"""The command line `gateway`: registers the commands and prints errors.

Each command is a module of `gateway.commands`. Results go to standard output, all other output to
standard error, for pipes. Exit codes: 0 success, 1 failure, 2 invalid settings or command line,
130 after Ctrl-C.
"""

from __future__ import annotations

import inspect
import io
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from gateway import __version__
from gateway.commands.check import check
from gateway.commands.config import show_config
from gateway.commands.conformance import conformance
from gateway.commands.console import ConfigFile, say_error
from gateway.commands.demo import demo
from gateway.commands.fleet import fleet
from gateway.commands.id import read_id
from gateway.commands.plan import plan
from gateway.commands.publish import publish
from gateway.commands.record import record
from gateway.commands.revoke import revoke
from gateway.commands.streams import streams
from gateway.commands.tail import tail
from gateway.commands.token import token
from gateway.config import grouped, load_settings
from gateway.errors import GatewayError
from gateway.log import open_standard_streams
from gateway.serve import serve as run_worker
from gateway.settings.secret_settings import PREFIX
from gateway.workers.run import supervise

if TYPE_CHECKING:
    from collections.abc import Callable

WORKERS_VARIABLE = "GATEWAY_WORKERS"


def main() -> None:
    """Run the command line and exit with its code."""
    open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        # Write replacement characters, and raise no exception, if the terminal is not UTF-8.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        build()()
    except GatewayError as error:
        say_error(str(error))
        sys.exit(error.exit_code)


def build() -> typer.Typer:
    """Return the command line with all its commands."""
    app = typer.Typer(
        cls=_Group,
        name="gateway",
        help="Every user's events from Kafka, as Server-Sent Events: live, resumed, exactly once.",
        epilog="Settings are environment variables, or a TOML file given with --config.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    add = partial(_add, app)
    add(serve, "Run", epilog=_settings_help())
    add(check, "Run")
    add(show_config, "Run", "config")
    add(plan, "Run")
    add(fleet, "Run")
    add(streams, "Run")
    add(revoke, "Run")
    add(record, "Run")
    add(demo, "Try out")
    add(publish, "Try out")
    add(tail, "Try out")
    add(conformance, "Try out")
    add(token, "Try out")
    add(read_id, "Try out", "id")
    return app


def _add(
    app: typer.Typer,
    command: Callable[..., None],
    panel: str,
    name: str | None = None,
    epilog: str | None = None,
) -> None:
    """Add a command with its docstring as help, each paragraph as one line to be wrapped."""
    paragraphs = inspect.getdoc(command) or ""
    text = "\n\n".join(" ".join(part.split()) for part in paragraphs.split("\n\n"))
    app.command(name, help=text, epilog=epilog, rich_help_panel=panel, cls=_Command)(command)


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _with_metavars(super().get_params(ctx))


class _Command(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:
        return _with_metavars(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


def _with_metavars(params: list[Any]) -> list[Any]:
    """Return the parameters; help shows metavars instead of types: N for numbers, none for flags.

    Typer would print the type of each parameter, such as `<bool>` after every flag.
    """
    for param in params:
        if isinstance(param, TyperArgument):
            param.display_type_rich = _no_type  # type: ignore[method-assign]
        elif isinstance(param, TyperOption) and param.metavar is None:
            param.metavar = "" if param.is_flag else "N"
    return params


def _no_type(ctx: Any) -> str:  # noqa: ARG001
    return ""


def _settings_help() -> str:
    """Return a paragraph for each group of settings, with their names."""
    groups = [
        f"[bold]{group}[/]: {', '.join(PREFIX + name.upper() for name in names)}"
        for group, names in grouped().items()
    ]
    limits = "Values in force: gateway config. Defaults, limits and effects: docs/settings.md."
    return "\n\n".join(["Settings, as environment variables:", *groups, limits])


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Define the options of `gateway` itself; typer calls this before each command."""


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gateway {__version__}")
        raise typer.Exit


def serve(
    config: ConfigFile = None,
    workers: Annotated[
        str | None,
        typer.Option(
            metavar="N", help="Worker processes; `auto`: as many as cores.", show_default=False
        ),
    ] = None,
) -> None:
    """Run one or more workers until SIGTERM or Ctrl-C."""
    if workers is not None:
        os.environ[WORKERS_VARIABLE] = workers  # the environment overrides all other sources
    settings = load_settings(config)
    if settings.workers == 1:
        run_worker(settings)
    else:
        supervise(settings, partial(load_settings, config))
