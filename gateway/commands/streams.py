"""`gateway streams`: show or end one user's streams."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from gateway.commands.console import AsJson, ConfigFile, plain_table, shown, to_stdout
from gateway.config import load_settings
from gateway.core.stream import State
from gateway.ops.client import ask, default_url

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

    from gateway.config import Settings

_COLOURS = {
    State.LIVE: "green",
    State.LAGGING: "yellow",
    State.REPLAYING: "yellow",
    State.STUCK: "red",
    State.CLOSED: "red",
}


def streams(
    user: Annotated[str, typer.Option("--user", metavar="ID", help="User id of the streams.")],
    end: Annotated[bool, typer.Option("--end", help="End them, with reason `closed`.")] = False,
    only: Annotated[
        str | None, typer.Option(metavar="STREAM", help="Only the stream with this name.")
    ] = None,
    url: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="Operations listener of a worker; repeatable; default: as in the settings.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """Show a user's streams, with position, lag and state.

    A worker knows only its own streams: give the --url of each worker. A client whose stream was
    ended reconnects with its last event id; `gateway revoke` prevents that.
    """
    settings = load_settings(config)
    urls = url or [default_url(settings)]
    found = asyncio.run(_found(settings, urls, user, only, end=end))
    if as_json:
        typer.echo(json.dumps({"streams": found}, indent=2))
    else:
        to_stdout().print(streams_table(found) if found else "no streams")
        if end and found:
            to_stdout().print("ended: " + ", ".join(shown(stream["stream"]) for stream in found))


async def _found(
    settings: Settings, urls: Iterable[str], user: str, only: str | None, *, end: bool
) -> list[dict[str, Any]]:
    found = []
    for url in urls:
        answer = await ask(url, settings, "GET", "/ops/streams", {"user": user})
        for stream in answer["streams"]:
            if only in {None, stream["stream"]}:
                if end:
                    path = f"/ops/streams/{quote(stream['stream'], safe='')}"
                    await ask(url, settings, "DELETE", path)
                found.append(stream)
    return found


def streams_table(found: Iterable[dict[str, Any]]) -> Table:
    """Return a row for each stream."""
    numbers = ("lag", "events", "bytes", "waiting")
    table = plain_table("stream", "state", "since", "address", "position", *numbers, right=numbers)
    for stream in found:
        state = State(stream["state"])
        stuck = stream["stuck_seconds"]
        table.add_row(
            shown(stream["stream"]),
            f"[{_COLOURS[state]}]{state}[/]" + ("" if stuck is None else f" for {stuck:.0f} s"),
            shown(stream["since"][:19].replace("T", " ")),
            shown(stream["address"]),
            shown(" ".join(map(_position, stream["cursor"]))),
            _number(stream["lag"]),
            _number(stream["events"]),
            _number(stream["bytes"]),
            _number(stream["waiting_bytes"]),
        )
    return table


def _position(position: dict[str, Any]) -> str:
    place = position["time"] if position["offset"] is None else position["offset"]
    return f"{position['topic']}-{position['partition']}@{place}"


def _number(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"
