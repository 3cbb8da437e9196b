"""`gateway token`: a token for trying out, signed as the worker verifies it."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from gateway.commands.console import ConfigFile, prepare
from gateway.tokens import mint


def token(
    user: Annotated[str, typer.Argument(metavar="USER", help="Whose events it opens.")],
    session: Annotated[
        str | None, typer.Option(metavar="ID", help="Session that it belongs to.")
    ] = None,
    ttl: Annotated[int, typer.Option(metavar="SECONDS", min=1, help="How long it is good.")] = 3600,
    config: ConfigFile = None,
) -> None:
    """Print a token for USER, signed with the configured secret.

    Nothing else is printed, for use as $(gateway token alice).
    """
    typer.echo(mint(prepare(config), user, session, ttl, time.time()))
