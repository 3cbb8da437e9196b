"""Parser of event streams by the HTML standard (§9.2.5, §9.2.6) that records oddities.

A browser silently ignores invalid lines, so a server never learns of its mistakes. This parser
interprets the bytes as a browser does and records the ignored ones.
"""

from __future__ import annotations

from typing import NamedTuple

BOM = b"\xef\xbb\xbf"


class Block(NamedTuple):
    """The fields up to a blank line.

    `data` is None unless the block dispatches an event. `id` is None if the block lacks the field.
    `last_event_id` is the client's last event id after the block, as the standard defines it for a
    connection that starts without one.
    """

    type: str
    data: str | None
    id: str | None
    last_event_id: str


class Parser:
    """Incremental parser for the bytes of one connection.

    `comments` is the number of comments. `ids` has every id, also of an incomplete block. `retry`
    has each reconnection time (ms) with the number of events before it. `oddities` has each kind
    of input that a browser ignores, once.
    """

    def __init__(self) -> None:
        self.comments = 0
        self.events = 0
        self.ids: list[str] = []
        self.retry: list[tuple[int, int]] = []
        self.oddities: dict[str, None] = {}
        self.line_ends: set[str] = set()
        self._rest = b""
        self._at_start = True
        self._last_event_id = ""
        self._clear()

    def _clear(self) -> None:
        self._type = ""
        self._data: list[str] = []
        self._id: str | None = None

    def feed(self, chunk: bytes) -> list[Block]:
        """Return the blocks that these bytes complete."""
        self._rest += chunk
        if self._at_start:
            if BOM.startswith(self._rest):
                return []
            self._at_start = False
            self._rest = self._rest.removeprefix(BOM)
        blocks = []
        begin = 0
        while (line := self._next_line(begin)) is not None:
            text, begin = line
            if text:
                self._field(text)
            else:
                blocks.append(self._dispatch())
        self._rest = self._rest[begin:]
        return blocks

    def _next_line(self, begin: int) -> tuple[bytes, int] | None:
        """Return the line at `begin` and the start of the next one; None if it is incomplete."""
        ends = [at for at in (self._rest.find(b"\n", begin), self._rest.find(b"\r", begin)) if ~at]
        if not ends:
            return None
        end = min(ends)
        if self._rest[end : end + 1] == b"\n":
            after, name = end + 1, "LF"
        elif self._rest[end + 1 : end + 2] == b"\n":
            after, name = end + 2, "CR LF"
        elif end + 1 == len(self._rest):
            return None  # LF may follow in the next chunk
        else:
            after, name = end + 1, "CR"
        self.line_ends.add(name)
        return self._rest[begin:end], after

    def _field(self, line: bytes) -> None:
        try:
            text = line.decode()
        except UnicodeDecodeError:
            text = line.decode(errors="replace")
            self._odd("bytes that are not UTF-8")
        name, colon, value = text.partition(":")
        value = value.removeprefix(" ")
        if colon and not name:
            self.comments += 1
        elif name == "data":
            self._data.append(value)
        elif name == "event":
            self._type = value
        elif name == "id":
            if "\0" in value:
                self._odd("an id that contains NULL")
            else:
                self._id = value
                self.ids.append(value)
        elif name == "retry":
            if value.isascii() and value.isdigit():
                self.retry.append((int(value), self.events))
            else:
                self._odd(f"retry: {value[:20]!r} is not a number")
        else:
            self._odd(f"an unknown field {name[:20]!r}")

    def _dispatch(self) -> Block:
        if self._id is not None:
            self._last_event_id = self._id
        data = "\n".join(self._data) if self._data else None
        if data is not None:
            self.events += 1
        elif self._type:
            self._odd("an event without data, which a browser drops")
        block = Block(self._type or "message", data, self._id, self._last_event_id)
        self._clear()
        return block

    def _odd(self, kind: str) -> None:
        self.oddities[kind] = None
