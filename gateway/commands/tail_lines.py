"""Output formats of `gateway tail`: aligned columns or lines of JSON."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
from rich.text import Text

from gateway.client import Close, Event, Gap, Message
from gateway.commands.console import harmless

if TYPE_CHECKING:
    from rich.console import Console

    from gateway.core.registry import Registry

COLOURS = ("cyan", "green", "magenta", "blue", "bright_yellow", "red", "bright_cyan")

TYPE_WIDTH = 30
"""Width of the type column; the longest built-in type has 29 characters."""

_GAPS = {
    "expired": "events that retention has removed were missed",
    "reset": "the topic is another one now, events may have been missed",
    "invalid": "the id could not be read, events may have been missed",
    "limit": "more was missed than the replay limits allow",
    "schema": "an event could not be decoded: the Schema Registry did not answer in time",
}


class JsonLines:
    """Prints one line of JSON for each event: id, type, payload and time written."""

    def event(self, event: Message, at: float) -> None:
        """Print the event; a payload that is not JSON becomes a JSON string."""
        try:
            data = msgspec.Raw(msgspec.json.format(event.data.encode(), indent=-1))
        except (msgspec.DecodeError, RecursionError):
            data = msgspec.Raw(json.dumps(event.data).encode())
        line = msgspec.json.encode(
            {
                "id": event.id,
                "event": event.type,
                "data": data,
                "time": datetime.fromtimestamp(at, UTC),
            }
        )
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()


class Printer:
    """Prints columns: time, category, type, and payload cut to the terminal's width."""

    def __init__(self, console: Console, registry: Registry) -> None:
        self._console = console
        self._registry = registry
        self._width = max(map(len, registry.categories))

    def event(self, event: Message, at: float) -> None:
        """Print the event on one line; events of the gateway are highlighted."""
        line = Text()
        moment = datetime.fromtimestamp(at).astimezone()
        line.append(f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}  ", "dim")
        if isinstance(event, Gap):
            reason = _GAPS.get(event.reason, harmless(event.reason))
            line.append(f"gap: {reason}; fetch the state again", "bold yellow")
        elif isinstance(event, Close):
            line.append(f"closed by the server: {harmless(event.reason)}", "magenta")
        else:
            category = self._registry.category_of(event.type)
            line.append(f"{category or '-':{self._width}}  ", self._colour(category))
            line.append(f"{harmless(event.type):{TYPE_WIDTH}}  ", "bold")
            line.append(harmless(event.data))
        own = not isinstance(event, Event)
        self._console.print(line, no_wrap=not own, overflow="fold" if own else "ellipsis")

    def _colour(self, category: str | None) -> str:
        if category is None:
            return "dim"
        return COLOURS[self._registry.categories.index(category) % len(COLOURS)]
