"""Bytes of a stream: Server-Sent Events (HTML standard, §9.2) in HTTP chunks (RFC 9112, §7.1).

A frame of an event has two parts. The *id line* is each stream's own, because it holds the cursor
over all logs that the stream follows. The *body* is the same for every stream of the user, so it is
made once for a record and shared.

A client splits the stream at CR LF, CR and LF alone, before it looks at anything else. So as long
as every such break inside a payload begins a new `data:` line, no payload can start a field of its
own, whatever it holds.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.gap import CloseReason, Gap

LAST_CHUNK = b"0\r\n\r\n"
"""Ends a chunked response, so that the client knows that nothing was cut off."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def event_body(event_type: str, payload: bytes) -> bytes:
    r"""Return everything of an event but its id line: `event:`, `data:` lines, blank line.

    Line breaks of the payload reach the client as LF, since the format has no others. Bytes that
    are not UTF-8 become U+FFFD, as every browser would show them; a strict client that failed on
    them would come back for the same event for ever. `event_type` holds no line break: raises
    `ValueError` for one, which could forge fields of the stream.
    """
    if "\n" in event_type or "\r" in event_type:
        raise ValueError("a line break in an event type")
    if not payload.isascii():
        payload = payload.decode("utf-8", "replace").encode()
    if b"\r" in payload:
        payload = payload.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if b"\n" in payload:
        payload = payload.replace(b"\n", b"\ndata: ")
    return b"event: %b\ndata: %b\n\n" % (event_type.encode(), payload)


def event(event_id: bytes, body: bytes, *, chunked: bool) -> bytes:
    """Return an event as it goes to its clients: in one step, as it is done for each one."""
    if chunked:
        return b"%x\r\nid: %b\n%b\r\n" % (len(event_id) + len(body) + 5, event_id, body)
    return b"id: %b\n%b" % (event_id, body)


def events(before: bytes, after: bytes, parts: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return events in a row, without chunks around them, of one cursor that moves in one log.

    `parts` are the mark of that log and the body of each event; `before` and `after` stand around
    the mark in every id.
    """
    return b"".join([b"id: %b%b%b\n%b" % (before, entry, after, body) for entry, body in parts])


def id_line(event_id: bytes) -> bytes:
    """Return the line that goes before a body; both together are one event."""
    return b"id: %b\n" % event_id


def id_block(event_id: bytes) -> bytes:
    """Return a block that fires no event in a client, but sets its last event id (§9.2.6)."""
    return b"id: %b\n\n" % event_id


def retry(milliseconds: int) -> bytes:
    """Return the line that sets how long the client waits before it connects again.

    It goes before a block that has an id: by the standard (§9.2.6) a blank line sets the client's
    last event id to what the connection has said so far, so a block of its own would clear it.
    """
    return b"retry: %d\n" % milliseconds


def heartbeat(event_id: bytes | None) -> bytes:
    """Return a comment that keeps the connection alive, and the stream's id where it has one."""
    if event_id is None:
        return b": heartbeat\n\n"
    return b": heartbeat\nid: %b\n\n" % event_id


def gap(event_id: bytes, gap: Gap) -> bytes:
    """Return the event `stream.gap`; its id is the place behind the gap, so it is told once."""
    since = None
    if gap.since is not None:
        moment = _EPOCH + timedelta(milliseconds=gap.since)
        since = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    facts = {
        "reason": gap.reason,
        "log": gap.log,
        "partition": gap.partition,
        "from": gap.first,
        "to": gap.next,
        "since": since,
    }
    known = {name: fact for name, fact in facts.items() if fact is not None}
    return id_line(event_id) + event_body("stream.gap", msgspec.json.encode(known))


def close(reason: CloseReason, retry_ms: int | None = None) -> bytes:
    """Return the event `stream.close`; with `retry_ms`, also how long to wait before connecting."""
    wait = b"" if retry_ms is None else retry(retry_ms)
    return wait + event_body("stream.close", msgspec.json.encode({"reason": reason}))


def chunk(data: bytes) -> bytes:
    """Return `data` as one chunk; nothing for no data, since an empty chunk ends the response."""
    if not data:
        return b""
    return b"%x\r\n%b\r\n" % (len(data), data)
