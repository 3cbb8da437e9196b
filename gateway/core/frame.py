"""Frames: Server-Sent Events (HTML, §9.2) in HTTP chunks (RFC 9112, §7.1).

The frame of an event has two parts. The *id line* differs between streams, because an id holds the
cursor of all partitions that a stream follows. The *body* is the same for every stream of the user;
it is built once for a record and shared.

A client splits the stream at CR LF, CR and LF before it parses a field. A payload therefore cannot
inject a field as long as every such line break in it starts a new `data:` line.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.gap import CloseReason, Gap

LAST_CHUNK = b"0\r\n\r\n"
"""Ends a chunked response; without it the client treats the response as truncated."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

GAP = "stream.gap"
"""The event type of a gap."""


def event_body(event_type: str, payload: bytes) -> bytes:
    r"""Return an event without its id line: `event:`, `data:` lines, blank line.

    The client receives every line break of the payload as LF, the only one of the format. Bytes
    that are not UTF-8 become U+FFFD, as a browser decodes them: a strict client that fails on them
    would resume before the same event after each reconnect. Raises `ValueError` for a line break in
    `event_type`, which could inject fields.
    """
    return body(event_head(event_type), payload)


def event_head(event_type: str) -> bytes:
    """Return the part of an event's body before its payload.

    Raises `ValueError` for a line break in `event_type`, which could inject fields.
    """
    if "\n" in event_type or "\r" in event_type:
        raise ValueError("a line break in an event type")
    return b"event: %b\ndata: " % event_type.encode()


def body(head: bytes, payload: bytes) -> bytes:
    """Return `event_body` with the result of `event_head`, which events of a type share."""
    if not payload.isascii():
        payload = payload.decode("utf-8", "replace").encode()
    if b"\r" in payload:
        payload = payload.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if b"\n" in payload:
        payload = payload.replace(b"\n", b"\ndata: ")
    return head + payload + b"\n\n"


def event(event_id: bytes, body: bytes, *, chunked: bool) -> bytes:
    """Return a complete event, as one chunk if `chunked`; the hot path calls this."""
    if chunked:
        return b"%x\r\nid: %b\n%b\r\n" % (len(event_id) + len(body) + 5, event_id, body)
    return b"id: %b\n%b" % (event_id, body)


def events(before: bytes, after: bytes, entries: Sequence[bytes], bodies: Sequence[bytes]) -> bytes:
    """Return consecutive events of one partition and one cursor, not chunked.

    `entries` are the partition's entries in the ids of the events; `before` and `after` are the
    parts of every id around that entry.
    """
    form = b"id: %b%%b%b\n%%b" % (before, after)
    return b"".join([form % part for part in zip(entries, bodies, strict=True)])


def id_line(event_id: bytes) -> bytes:
    """Return the `id:` line that precedes the body of an event."""
    return b"id: %b\n" % event_id


def id_block(event_id: bytes) -> bytes:
    """Return a block that sets the client's last event id without an event (§9.2.6)."""
    return b"id: %b\n\n" % event_id


def retry(milliseconds: int) -> bytes:
    """Return the `retry:` line, the client's delay before it reconnects.

    It must precede a block with an id: a blank line sets the client's last event id to the one
    received on this connection so far (§9.2.6), so a separate block would clear it.
    """
    return b"retry: %d\n" % milliseconds


def heartbeat(event_id: bytes | None) -> bytes:
    """Return a comment that keeps the connection alive, with the stream's id if any."""
    if event_id is None:
        return b": heartbeat\n\n"
    return b": heartbeat\nid: %b\n\n" % event_id


def gap(event_id: bytes, gap: Gap) -> bytes:
    """Return the event `stream.gap`; its id is the position after the gap."""
    return id_line(event_id) + gap_body(gap)


def gap_body(gap: Gap) -> bytes:
    """Return the event `stream.gap` without its id line."""
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
    return event_body(GAP, msgspec.json.encode(known))


def close(reason: CloseReason, retry_ms: int | None = None) -> bytes:
    """Return the event `stream.close`, with a `retry:` line if `retry_ms` is given."""
    wait = b"" if retry_ms is None else retry(retry_ms)
    return wait + event_body("stream.close", msgspec.json.encode({"reason": reason}))


def chunk(data: bytes) -> bytes:
    """Return `data` as one chunk; b"" for no data: an empty chunk ends the response."""
    if not data:
        return b""
    return b"%x\r\n%b\r\n" % (len(data), data)
