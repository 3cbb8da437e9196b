"""`gateway publish`: write one event, or many from lines of JSON."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections import deque
from datetime import UTC, datetime
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from gateway.commands.console import ConfigFile, harmless, say_error, to_stderr
from gateway.commands.lines import read_lines
from gateway.config import load_settings
from gateway.errors import PublishError
from gateway.event_types import load_registry
from gateway.publisher import WINDOW, Delivery, EventPublisher

if TYPE_CHECKING:
    from rich.console import Console

    from gateway.config import Settings

_LINE = '{"user_id": "alice", "event_type": "import.started", "data": {}}'


class Line(msgspec.Struct, forbid_unknown_fields=True):
    """One line of standard input: an event to write. A broadcast omits `user_id`."""

    event_type: str
    data: msgspec.Raw = msgspec.Raw(b"{}")
    user_id: str | None = None
    broadcast: bool = False


def publish(
    user: Annotated[
        str | None,
        typer.Argument(metavar="USER", help="User id of the recipient.", show_default=False),
    ] = None,
    event_type: Annotated[
        str | None, typer.Argument(metavar="TYPE", help="Event type.", show_default=False)
    ] = None,
    payload: Annotated[
        str | None, typer.Argument(metavar="JSON", help="Payload; default: {}.", show_default=False)
    ] = None,
    broadcast: Annotated[
        bool, typer.Option("--broadcast", help="Send to all users: --broadcast TYPE [JSON].")
    ] = False,
    topic: Annotated[
        str | None,
        typer.Option(metavar="TOPIC", help="Source to write to; default: the only one for users."),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Write an event to Kafka, or many from standard input.

    With USER and TYPE, or --broadcast and TYPE: prints the event_id of the record.

    Without: reads a line of JSON for each event, with user_id, event_type and data, or
    "broadcast": true in place of the user. A line that cannot be written is reported and skipped,
    and the exit code is 1.

    With GATEWAY_SOURCES, --topic selects a source; the record has the form of its mapping. A source
    for groups takes the group in place of the user.
    """
    settings = load_settings(config)
    words = [word for word in (user, event_type, payload) if word is not None]
    if words or broadcast:
        line = _from_words(words, broadcast=broadcast)
        begun = datetime.now(UTC)
        typer.echo(asyncio.run(_publish_one(settings, line, topic)))
        if (notices := to_stderr()).is_terminal:
            who = quote("USER" if line.user_id is None else line.user_id)
            hint = f"show the event: gateway tail {who} --since {begun:%Y-%m-%dT%H:%M:%SZ}"
            notices.print(harmless(hint), style="dim", markup=False)
    elif asyncio.run(_publish_lines(settings, sys.stdin.fileno(), topic)):
        raise typer.Exit(1)


def _from_words(words: list[str], *, broadcast: bool) -> Line:
    user = None if broadcast else words.pop(0)
    if not 1 <= len(words) <= 2:
        form = "--broadcast TYPE [JSON]" if broadcast else "USER TYPE [JSON]"
        raise typer.BadParameter(f"write it as: gateway publish {form}")
    return Line(words[0], _json(words[1] if len(words) == 2 else "{}"), user, broadcast)


def _json(text: str) -> msgspec.Raw:
    """Validate JSON and return it unchanged, with number format and key order."""
    try:
        msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        raise PublishError(f"the payload is not valid JSON: {error}") from None
    return msgspec.Raw(text.encode())


async def _publish_one(settings: Settings, line: Line, topic: str | None) -> str | None:
    async with _publisher(settings, topic) as publisher:
        if line.broadcast:
            return await publisher.broadcast(line.event_type, line.data)
        return await publisher.publish(_user_of(line), line.event_type, line.data)


async def _publish_lines(settings: Settings, descriptor: int, topic: str | None) -> int:
    """Write an event for each line and return the number of failures."""
    console = to_stderr()
    if os.isatty(descriptor):
        console.print(f"a line for each event, like {_LINE}; Ctrl-D ends", markup=False)
    columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        bar = progress.add_task("", total=_size(descriptor))
        async with _publisher(settings, topic) as publisher:
            writer = _Writer(publisher, console)
            async for line in read_lines(descriptor):
                await writer.write(line)
                progress.update(bar, advance=len(line) + 1, description=writer.summary)
            await writer.settle()
    console.print(writer.summary)
    return writer.failed


class _Writer:
    """Writes lines in order, many in flight at a time, and reports failures."""

    def __init__(self, publisher: EventPublisher, console: Console) -> None:
        self.written = 0
        self.failed = 0
        self._number = 0
        self._publisher = publisher
        self._console = console
        self._decoder = msgspec.json.Decoder(Line)
        self._waiting: deque[tuple[int, Delivery]] = deque()

    @property
    def summary(self) -> str:
        return f"{self.written} written, {self.failed} failed"

    async def write(self, text: bytes) -> None:
        """Write the event of the next line; skip an empty line."""
        self._number += 1
        if not text.strip():
            return
        try:
            line = self._decoder.decode(text)
            if line.broadcast and line.user_id is None:
                await self._publisher.broadcast(line.event_type, line.data)
                self.written += 1
            else:
                delivery = await self._publisher.submit(_user_of(line), line.event_type, line.data)
                self._waiting.append((self._number, delivery))
        except (PublishError, ValueError, RecursionError) as error:
            self._report(self._number, error)
        await self.settle(WINDOW)

    async def settle(self, at_most: int = 0) -> None:
        """Wait until at most `at_most` events are unconfirmed."""
        while len(self._waiting) > at_most:
            number, delivery = self._waiting.popleft()
            try:
                await delivery
                self.written += 1
            except PublishError as error:
                self._report(number, error)

    def _report(self, number: int, error: Exception) -> None:
        self.failed += 1
        say_error(f"line {number}: {error}", self._console)


def _publisher(settings: Settings, topic: str | None) -> EventPublisher:
    return EventPublisher.from_settings(settings, topic=topic, registry=load_registry(settings))


def _user_of(line: Line) -> str:
    if line.broadcast and line.user_id is not None:
        raise PublishError("a broadcast cannot have a user_id: remove user_id or broadcast")
    if line.user_id is None:
        raise PublishError('user_id is missing; to send to all users, write "broadcast": true')
    return line.user_id


def _size(descriptor: int) -> int | None:
    """Return the size in bytes of an input file; None for a pipe or terminal."""
    status = os.fstat(descriptor)
    return status.st_size if stat.S_ISREG(status.st_mode) else None
