"""Decodes the bytes of an event stream into messages, as an `EventSource` does."""

from __future__ import annotations

import codecs

from gateway.client.messages import Message, message
from gateway.errors import NotAStream

DEFAULT_RETRY_SECONDS = 3.0

MAX_EVENT_CHARACTERS = 1 << 25
"""Limit of an incomplete event. A gateway delivers events of up to about a megabyte."""


class EventStreamDecoder:
    """Parses the lines of a stream (HTML standard, §9.2.6); ids survive reconnects."""

    def __init__(self, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        self.retry_seconds = DEFAULT_RETRY_SECONDS
        self.connected()

    def connected(self) -> None:
        """Discard the incomplete event of the previous connection."""
        self._text = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._rest: list[str] = []
        self._rest_size = 0
        self._held = ""
        self._type = ""
        self._id = self.last_event_id
        self._data: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that these bytes complete.

        Raises `NotAStream` where an event exceeds the limit; these bytes are then ignored.
        """
        if self._size + self._rest_size > MAX_EVENT_CHARACTERS:
            raise NotAStream(
                "an event exceeds the size limit without an end: the server is not a gateway"
            )
        text = self._held + self._text.decode(data)
        # A CR at the end may be half of a CR LF.
        self._held = "\r" if text.endswith("\r") else ""
        text = text.removesuffix("\r").replace("\r\n", "\n").replace("\r", "\n")
        lines = text.split("\n")
        rest = lines.pop()
        if lines:
            lines[0] = "".join([*self._rest, lines[0]])
            self._rest, self._rest_size = [], 0
        # A long line is joined once, at its end, instead of once per piece.
        self._rest.append(rest)
        self._rest_size += len(rest)
        messages = []
        for line in lines:
            if line:
                self._field(line)
            else:
                messages += self._dispatch()
        return messages

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._type = value
        elif name == "data":
            self._data.append(value)
            self._size += len(value) + 1
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry_seconds = float(value) / 1000

    def _dispatch(self) -> list[Message]:
        previous, self.last_event_id = self.last_event_id, self._id
        data, self._data, self._size = self._data, [], 0
        event_type, self._type = self._type, ""
        if not data:
            return []
        return [message(event_type or "message", "\n".join(data), self._id, previous)]
