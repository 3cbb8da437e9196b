"""What `gateway tail` prints for an event: aligned columns for a person, or JSON for a program."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
from rich.text import Text

from gateway.commands.console import harmless
from gateway.core.registry import RESERVED_PREFIX

if TYPE_CHECKING:
    from rich.console import Console

    from gateway.client import Received
    from gateway.core.registry import Registry

COLOURS = ("cyan", "green", "magenta", "blue", "bright_yellow", "red", "bright_cyan")

TYPE_WIDTH = 30
"""Of the column of types: the longest built-in one has 29 characters."""

_GAPS = {
    "expired": "events that retention has removed were missed",
    "reset": "the topic is another one now, events may have been missed",
    "invalid": "the id could not be read, events may have been missed",
    "limit": "more was missed than the replay limits allow",
}


class JsonLines:
    """A line of JSON for each event: its id, type, payload, and when it was written."""

    def event(self, event: Received, at: float) -> None:
        """Print the event; a payload that is JSON stands as it is, any other one as a text."""
        try:
            data = msgspec.Raw(msgspec.json.format(event.data.encode(), indent=-1))
        except (msgspec.DecodeError, RecursionError):
            data = msgspec.Raw(json.dumps(event.data).encode())
        line = msgspec.json.encode(
            {
                "id": event.last_event_id,
                "event": event.type,
                "data": data,
                "time": datetime.fromtimestamp(at, UTC),
            }
        )
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()


class Printer:
    """Columns of time, category, type and payload, which is cut to the terminal's width."""

    def __init__(self, console: Console, registry: Registry) -> None:
        self._console = console
        self._registry = registry
        self._width = max(map(len, registry.categories))

    def event(self, event: Received, at: float) -> None:
        """Print the event on one line; what the gateway itself says stands out."""
        line = Text()
        moment = datetime.fromtimestamp(at).astimezone()
        line.append(f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}  ", "dim")
        if event.type == "stream.gap":
            reason = _reason(event.data)
            line.append(f"gap: {_GAPS.get(reason, reason)}; fetch the state again", "bold yellow")
        elif event.type == "stream.close":
            line.append(f"closed by the server: {_reason(event.data)}", "magenta")
        else:
            category = self._registry.category_of(event.type)
            line.append(f"{category or '-':{self._width}}  ", self._colour(category))
            line.append(f"{harmless(event.type):{TYPE_WIDTH}}  ", "bold")
            line.append(harmless(event.data))
        own = event.type.startswith(RESERVED_PREFIX)
        self._console.print(line, no_wrap=not own, overflow="fold" if own else "ellipsis")

    def _colour(self, category: str | None) -> str:
        if category is None:
            return "dim"
        return COLOURS[self._registry.categories.index(category) % len(COLOURS)]


def _reason(data: str) -> str:
    try:
        return harmless(str(msgspec.json.decode(data, type=dict[str, object]).get("reason")))
    except msgspec.DecodeError:
        return harmless(data)
