"""`gateway token`: sign a token for tests, or explain why one is rejected."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

import typer

from gateway.commands.console import ConfigFile  # noqa: TC001 - typer reads annotations
from gateway.commands.token_check import TokenFile, judge, read_token
from gateway.config import load_settings
from gateway.tokens import mint


def token(
    user: Annotated[
        str | None, typer.Argument(metavar="USER", help="User id of the token.")
    ] = None,
    session: Annotated[
        str | None, typer.Option(metavar="ID", help="Session id of the token.")
    ] = None,
    ttl: Annotated[int, typer.Option(metavar="SECONDS", min=1, help="Lifetime.")] = 3600,
    group: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Group of the user in the token; repeatable."),
    ] = None,
    explain: TokenFile = None,
    config: ConfigFile = None,
) -> None:
    """Print a token for USER, signed with the configured secret, or explain one.

    Prints nothing else, for use as $(gateway token alice). With --explain the exit code is 1 if a
    worker would reject the token.
    """
    if (user is None) == (explain is None):
        raise typer.BadParameter("give USER, or --explain FILE")
    settings = load_settings(config)
    if user is not None:
        if not user:
            raise typer.BadParameter("USER must be a non-empty string")
        typer.echo(mint(settings, user, session, ttl, time.time(), group or ()))
        return
    assert explain is not None
    verdict = asyncio.run(judge(settings.require_key(), read_token(explain)))
    typer.echo(f"{'accepted' if verdict.accepted else 'not accepted'}: {verdict.line}")
    if not verdict.accepted:
        raise typer.Exit(1)
