"""`gateway revoke`: revoke a session or all tokens of a user."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands.console import ConfigFile  # noqa: TC001 - typer reads annotations
from gateway.config import load_settings
from gateway.publisher import EventPublisher

if TYPE_CHECKING:
    from gateway.config import Settings


def revoke(
    user: Annotated[str, typer.Argument(metavar="USER", help="User id of the tokens.")],
    session: Annotated[
        str | None, typer.Option(metavar="ID", help="Only tokens of this session.")
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="End of revocation: RFC 3339, such as 2026-01-31T12:00:00Z."
        ),
    ] = None,
    ttl: Annotated[
        int | None,
        typer.Option(metavar="SECONDS", min=1, help="Duration, instead of --expires."),
    ] = None,
    lift: Annotated[bool, typer.Option("--lift", help="Lift the revocation.")] = False,
    config: ConfigFile = None,
) -> None:
    """End a user's streams and reject the tokens, on every worker within a second.

    Without --session, every token issued before now is revoked. A revocation must last at least as
    long as the tokens; without --expires and --ttl it lasts GATEWAY_REVOCATION_SECONDS.
    """
    if (expires is not None) + (ttl is not None) + lift > 1:
        raise typer.BadParameter("give one of --expires, --ttl and --lift")
    end = _end(expires, ttl)
    asyncio.run(_write(load_settings(config), user, session, end, lift=lift))


def _end(expires: str | None, ttl: int | None) -> datetime | None:
    if ttl is not None:
        try:
            return datetime.now(UTC) + timedelta(seconds=ttl)
        except OverflowError:
            raise typer.BadParameter("--ttl ends after the year 9999; give fewer seconds") from None
    if expires is None:
        return None
    try:
        end = datetime.fromisoformat(expires.upper())
    except ValueError:
        end = None
    if end is None or end.tzinfo is None:
        raise typer.BadParameter("--expires must be a time with offset: 2026-01-31T12:00:00Z")
    return end


async def _write(
    settings: Settings, user: str, session: str | None, end: datetime | None, *, lift: bool
) -> None:
    async with EventPublisher.from_settings(settings) as publisher:
        if lift and session is not None:
            await publisher.lift_session(session)
        elif lift:
            await publisher.lift_user(user)
        elif session is not None:
            await publisher.revoke_session(user, session, expires_at=end)
        else:
            await publisher.revoke_user(user, expires_at=end)
