"""An event stream as the HTML standard reads it (§9.2.5, §9.2.6), with what is odd about it.

A browser passes by what it does not understand, so a server never hears of its mistakes. This
parser makes of the bytes what a browser would, and notes them.
"""

from __future__ import annotations

from typing import NamedTuple

BOM = b"\xef\xbb\xbf"


class Block(NamedTuple):
    """What a blank line has ended.

    `data` is None where it fires no event. `last_event_id` is what the client holds after it by the
    letter of the standard, where a connection begins with none; `id` is None where the block had
    no such field.
    """

    type: str
    data: str | None
    id: str | None
    last_event_id: str


class Parser:
    """Takes the bytes of one connection as they come.

    `comments` counts the comments, `ids` has every id, also of a block that is not complete yet,
    `retry` each reconnection time (ms) and how many events came before it, `oddities` what a
    browser would not have shown, each once.
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
        """Return the line that begins there, and where the next one does; None: not complete."""
        ends = [at for at in (self._rest.find(b"\n", begin), self._rest.find(b"\r", begin)) if ~at]
        if not ends:
            return None
        end = min(ends)
        if self._rest[end : end + 1] == b"\n":
            after, name = end + 1, "LF"
        elif self._rest[end + 1 : end + 2] == b"\n":
            after, name = end + 2, "CR LF"
        elif end + 1 == len(self._rest):
            return None  # it may be half of a CR LF
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
                self._odd("an id with NULL")
            else:
                self._id = value
                self.ids.append(value)
        elif name == "retry":
            if value.isascii() and value.isdigit():
                self.retry.append((int(value), self.events))
            else:
                self._odd(f"retry: {value[:20]!r}, no digits")
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

    def _odd(self, what: str) -> None:
        self.oddities[what] = None
