"""A parser of event streams, written from the HTML standard (§9.2.5 and §9.2.6) alone.

The tests judge the gateway's output as a browser would parse it. The parser knows nothing of the
gateway, and takes the standard's steps one by one, at the price of speed.
"""

from __future__ import annotations

import codecs
from typing import NamedTuple


class ReceivedEvent(NamedTuple):
    """What a page's listener is given."""

    type: str
    data: str
    last_event_id: str


class EventStreamParser:
    """Takes the bytes of a stream as they arrive, and keeps the state that an `EventSource` keeps.

    `last_event_id` is the id that the next connection would send, `retry` the last reconnection
    time that the stream set (ms), `comments` all comments so far.
    """

    def __init__(self) -> None:
        self.last_event_id = ""
        self.retry: int | None = None
        self.comments: list[str] = []
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._at_start = True
        self._after_cr = False
        self._line: list[str] = []
        self._data = ""
        self._type = ""
        self._id = ""

    def feed(self, chunk: bytes) -> list[ReceivedEvent]:
        """Return the events that these bytes complete."""
        events: list[ReceivedEvent] = []
        for char in self._decoder.decode(chunk):
            if self._at_start:
                self._at_start = False
                if char == "\ufeff":
                    continue
            if char == "\n" and self._after_cr:
                self._after_cr = False
                continue
            self._after_cr = char == "\r"
            if char in "\r\n":
                line = "".join(self._line)
                self._line.clear()
                events += self._process(line)
            else:
                self._line.append(char)
        return events

    def _process(self, line: str) -> list[ReceivedEvent]:
        if not line:
            return self._dispatch()
        field, colon, value = line.partition(":")
        if colon and not field:
            self.comments.append(value.removeprefix(" "))
            return []
        value = value.removeprefix(" ")
        if field == "event":
            self._type = value
        elif field == "data":
            self._data += value + "\n"
        elif field == "id" and "\0" not in value:
            self._id = value
        elif field == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value)
        return []

    def _dispatch(self) -> list[ReceivedEvent]:
        self.last_event_id = self._id
        data, self._data = self._data, ""
        kind, self._type = self._type, ""
        if not data:
            return []
        return [ReceivedEvent(kind or "message", data.removesuffix("\n"), self._id)]
