"""`gateway tail`: print a user's stream as aligned columns or as lines of JSON."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.client import Event, EventStream, Interrupted, Message, Opened
from gateway.commands.console import ConfigFile, harmless, to_stderr, to_stdout
from gateway.commands.tail_lines import JsonLines, Printer
from gateway.config import load_settings
from gateway.core.event_id import CursorEntry, parse
from gateway.core.records import OffsetPosition
from gateway.errors import EventIdError, SettingsError
from gateway.event_types import load_registry
from gateway.settings.setting_types import url_of
from gateway.tokens import mint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.config import Settings

PATH = "/api/v1/events"

MINTED_SECONDS = 3600


def tail(
    user: Annotated[
        str | None,
        typer.Argument(metavar="USER", help="User id of the stream; not needed with --token."),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="URL of the gateway; default: as in the settings."),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(metavar="JWT", help="Token; default: one signed with the configured secret."),
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Group of the user in a signed token; repeatable."),
    ] = None,
    categories: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only events of these categories.")
    ] = None,
    types: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Only events of these types, such as import.*."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Start in the past: RFC 3339, or Unix seconds or ms."),
    ] = None,
    event_id: Annotated[
        str, typer.Option("--id", metavar="ID", help="Resume after the event with this id.")
    ] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON for each event.")
    ] = False,
    count: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Exit after N events.")
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Follow a user's stream; reconnect and resume after an interruption.

    Press Ctrl-C to stop.
    """
    settings = load_settings(config)
    printer = JsonLines() if as_json else Printer(to_stdout(), load_registry(settings))
    address = _address(url, settings)
    stream = EventStream(
        address,
        _token_source(settings, user, token, group or ()),
        categories=[] if categories is None else [categories],
        types=[] if types is None else [types],
        since=since,
        resume=event_id,
    )
    if (notices := to_stderr()).is_terminal and user is not None:
        hint = f"write an event from another terminal: gateway publish {quote(user)} import.started"
        notices.print(harmless(hint), style="dim", markup=False)
    asyncio.run(_follow(stream, address, printer, count))


async def _follow(
    stream: EventStream, address: str, printer: JsonLines | Printer, count: int | None
) -> None:
    notices = to_stderr()
    left = count
    async with stream:
        async for item in stream:
            match item:
                case Opened(resumed):
                    how = "resumed from the last id" if resumed else "live"
                    notices.print(f"connected to {address}: {how}", style="dim", markup=False)
                case Interrupted(reason, wait):
                    notices.print(f"{reason}; again in {wait:.1f} s", style="magenta", markup=False)
                case Message():
                    moment = written_at(item.previous_id, item.id)
                    printer.event(item, time.time() if moment is None else moment)
                    if left is not None and isinstance(item, Event):
                        left -= 1
                        if not left:
                            return


def written_at(previous_id: str, event_id: str) -> float | None:
    """Return when the event with this id was written, in Unix seconds.

    A frame has no timestamp, but an id has, for each log, that of the record before its position,
    and the position of one log changes from one id to the next: that of the event's log.
    None if the ids are another server's, or if the positions of several logs changed.
    """
    before = _marks(previous_id)
    moved = [
        mark.position.timestamp
        for mark in _marks(event_id)
        if mark not in before and isinstance(mark.position, OffsetPosition) and mark.position.seen
    ]
    return moved[0] / 1000 if len(moved) == 1 else None


def _marks(event_id: str) -> list[CursorEntry]:
    try:
        return parse(event_id)
    except EventIdError:
        return []


def _address(url: str | None, settings: Settings) -> str:
    if url is None:
        listen = settings.listen
        scheme = "http" if settings.tls_certfile is None else "https"
        host = "127.0.0.1" if listen.host in {"0.0.0.0", "::"} else listen.host  # noqa: S104 compared
        url = url_of(scheme, host, listen.port)
    if "://" not in url:
        url = f"http://{url}"
    _, _, rest = url.partition("://")
    return url if rest.rstrip("/").count("/") else url.rstrip("/") + PATH


def _token_source(
    settings: Settings, user: str | None, token: str | None, groups: Sequence[str]
) -> Callable[[], str]:
    """Return the token source; each connection gets `token` or a newly signed one.

    Raises `SettingsError` if neither `user` nor `token` is given, or signing is impossible.
    """
    if token is not None:
        return lambda: token
    if user is None:
        raise SettingsError("USER is missing; name one, or give a --token")
    make = partial(mint, settings, user, None, MINTED_SECONDS, groups=groups)
    make(time.time())  # fails early if a setting is missing
    return lambda: make(time.time())
