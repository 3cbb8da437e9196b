"""The log line of each stream, written when the stream ends.

One line for each stream; at level `debug` the opening has a line too. Counting costs one addition
for each write; all other fields are computed at the end, and only where the line is written.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import structlog

from gateway.http.transport.connection import Connection
from gateway.ops.reporter import rfc3339

if TYPE_CHECKING:
    from gateway.core.gap import CloseReason
    from gateway.core.records import Moment
    from gateway.core.stream import Stream
    from gateway.ops.pseudonyms import Pseudonyms

CLIENT = "client"
"""The reason where the client has closed the connection."""


class StreamLog:
    """Logs streams that open and end, with the origin of their connection."""

    def __init__(self, pseudonyms: Pseudonyms) -> None:
        self._pseudonyms = pseudonyms
        self._log = structlog.stdlib.get_logger(__name__).bind()  # not looked up each time

    def opened(self, stream: Stream) -> None:
        """Log a stream that opens, at level `debug`."""
        if self._log.is_enabled_for(logging.DEBUG):
            self._log.debug("stream opened", **self._origin(stream))

    def closed(self, stream: Stream, reason: CloseReason | None, moment: Moment) -> None:
        """Log a stream that ends; its positions are still known."""
        if not self._log.is_enabled_for(logging.INFO):
            return
        seconds = moment.monotonic - stream.opened
        self._log.info(
            "stream closed",
            reason=CLIENT if reason is None else str(reason),
            opened_at=rfc3339(moment.wall - round(seconds * 1000)),
            seconds=round(seconds, 3),
            events=stream.sent,
            bytes=stream.sink.written if isinstance(stream.sink, Connection) else None,
            state=str(stream.state),
            lag_seconds=stream.lag(moment.wall) / 1000,
            **self._origin(stream),
        )

    def _origin(self, stream: Stream) -> dict[str, Any]:
        origin = {"user": self._pseudonyms.name(stream.key)}
        if stream.session is not None:
            origin["session"] = self._pseudonyms.name(stream.session.encode())
        if isinstance(stream.sink, Connection):
            origin |= stream.sink.caller.facts()
        return origin
