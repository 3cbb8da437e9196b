"""`gateway token`: a token for trying out, or what is wrong with one."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

import typer

from gateway.commands.console import ConfigFile, prepare
from gateway.commands.token_check import TokenFile, judge, read_token
from gateway.tokens import mint


def token(
    user: Annotated[
        str | None, typer.Argument(metavar="USER", help="Whose events it opens.")
    ] = None,
    session: Annotated[
        str | None, typer.Option(metavar="ID", help="Session that it belongs to.")
    ] = None,
    ttl: Annotated[int, typer.Option(metavar="SECONDS", min=1, help="How long it is good.")] = 3600,
    explain: TokenFile = None,
    config: ConfigFile = None,
) -> None:
    """Print a token for USER, signed with the configured secret, or explain one.

    Nothing else is printed, for use as $(gateway token alice). With --explain the exit code is 1
    for a token that a worker would not accept.
    """
    if (user is None) == (explain is None):
        raise typer.BadParameter("give USER, or --explain FILE")
    settings = prepare(config)
    if explain is None:
        assert user is not None
        typer.echo(mint(settings, user, session, ttl, time.time()))
        return
    verdict = asyncio.run(judge(settings.require_key(), read_token(explain)))
    typer.echo(f"{'accepted' if verdict.accepted else 'not accepted'}: {verdict.line}")
    if not verdict.accepted:
        raise typer.Exit(1)
